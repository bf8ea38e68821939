"""Trust: whose word a registry's files are taken on, by signed metadata of The Update Framework (TUF).

A signed registry has, in `metadata/` beside its index, who may sign what (root), the size and hash of every file
(targets, with parts delegated to devices' owners), and which of these are current (snapshot, timestamp).

`policy` is what the user asked for, `state` what is known of each registry, `identifier` what tells keys apart,
`refresh` the verification with TUF's `client` at our locations, `conditional` the one request of a warm cache, and
`ask` puts them together.
"""
