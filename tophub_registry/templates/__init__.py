"""AutoTVM's templates on today's TVM: config spaces in plain Python, computations and schedules on TVM."""
