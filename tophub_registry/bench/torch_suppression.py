"""Non-maximum suppression in PyTorch, which has its own only in torchvision.

Compiled as a script, so that tracing a network keeps its loop. Imported only if PyTorch is installed.
"""

import torch


def _suppress(
    rows: torch.Tensor,
    boxes: torch.Tensor,
    scores: torch.Tensor,
    groups: torch.Tensor,
    score_threshold: float,
    iou_threshold: float,
) -> torch.Tensor:
    """Return the rows `[number, width]` that no better one overlaps, sorted by score, then rows of -1.

    Parameters
    ----------
    boxes
        Corners, `[number, 4]`.
    groups
        Only boxes of the same group suppress each other; a negative group makes a row invalid.
    """
    scores, order = torch.sort(scores, stable=True, descending=True)
    rows, boxes, groups = rows[order], boxes[order], groups[order]
    valid = torch.logical_and(scores > score_threshold, groups >= 0)
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = torch.clamp(high - low, min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    union = area[:, None] + area[None, :] - common
    covers = torch.logical_and(common > iou_threshold * union, groups[:, None] == groups[None, :]).triu(1)
    # Whether a row is kept depends only on better rows, so iterating settles them from the best downwards.
    kept = valid
    for _ in range(rows.size(0)):
        covered = torch.logical_and(covers, kept[:, None]).any(0)
        settled = torch.logical_and(valid, torch.logical_not(covered))
        if torch.equal(settled, kept):
            break
        kept = settled
    found = rows[kept]
    return torch.nn.functional.pad(found, [0, 0, 0, rows.size(0) - found.size(0)], value=-1.0)


suppress = torch.jit.script(_suppress)
