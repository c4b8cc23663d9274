"""A LIIF head (arXiv 2012.09161): an implicit function that gives the value at any point between features."""

import torch
from torch import Tensor, nn

from lua_lightning.models.network import in_own_dtype


class LiifHead(nn.Module):
    """Enlarge trunk features (B, embed_dim, h, w) to (B, channels, H, W), any H and W.

    For every output point each of the four nearest features is asked: an MLP sees the feature's 3x3 neighbourhood, the
    point's position relative to it and the size of an output cell; the four answers are averaged by the area of the
    opposite rectangle (the local ensemble). The MLP's first layer on unfolded neighbourhoods is a 3x3 convolution of
    the features, so it is computed once per feature instead of four times per output point.

    Args:
        embed_dim: Channels of the features.
        width: Hidden width of the MLP.
        channels: Output channels.
        layers: Hidden layers.
    """

    def __init__(self, embed_dim: int, width: int, channels: int, layers: int = 4) -> None:
        super().__init__()
        self.unfolded = nn.Conv2d(embed_dim, width, 3, padding=1)
        self.position = nn.Linear(4, width, bias=False)  # relative y and x, cell height and width
        hidden = [module for _ in range(layers - 1) for module in (nn.Conv2d(width, width, 1), nn.ReLU())]
        self.hidden = nn.Sequential(nn.ReLU(), *hidden)
        self.conv_last = nn.Conv2d(width, channels, 1)

    def forward(self, features: Tensor, height: int, width: int) -> Tensor:
        """Return values (B, channels, height, width) on a grid that covers the features' area evenly."""
        known = self.unfolded(features)
        (above, below, down), (left, right, across) = (
            _neighbours(known.shape[axis], size, features) for axis, size in ((2, height), (3, width))
        )
        cell = features.new_tensor([2 * features.shape[2] / height, 2 * features.shape[3] / width])
        total = known.new_zeros(())
        for rows, y, row_weight in ((above, down, 1 - down), (below, down - 1, down)):
            for columns, x, column_weight in ((left, across, 1 - across), (right, across - 1, across)):
                offset = torch.stack(torch.broadcast_tensors(2 * y[:, None], 2 * x[None, :]), -1)
                place = torch.cat([offset, cell.expand_as(offset)], -1)
                asked = known.index_select(2, rows).index_select(3, columns)
                answer = in_own_dtype(self.conv_last, self.hidden(asked + self.position(place).permute(2, 0, 1)))
                total = total + answer * (row_weight[:, None] * column_weight[None, :])
        return total


def _neighbours(known: int, size: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for `size` points spread over `known` cells, the cells before and after and the distance to the first.

    Points beyond the centre of the first or last cell have that cell on both sides.
    """
    position = (torch.arange(size, device=like.device, dtype=torch.float32) + 0.5) * known / size - 0.5
    before = position.floor()
    after = (before + 1).clamp(max=known - 1).long()
    return before.clamp(min=0).long(), after, (position - before).to(like.dtype)
