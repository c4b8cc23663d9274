"""How far a convolutional network sees."""

from torch import nn

POINTWISE = (nn.ReLU, nn.SiLU, nn.LeakyReLU, nn.Tanh, nn.Identity)


def reach_of(network: nn.Module | None) -> int | None:
    """Return how many positions of its input beyond a place matter to a network's output there.

    That is half its receptive field, followed from the output to the input: a convolution adds half its kernel, a
    stride multiplies by it, and an upsampling divides, rounded up. Layers are taken in the order of their definition,
    one behind the other; skip connections reach no farther.

    Args:
        network: Convolutions, pointwise layers and upsampling by whole factors; None for none.

    Returns:
        The reach; None where a layer looks at everything, such as a group normalisation, or is not known here.
    """
    reach = 0
    for layer in reversed(list(network.modules()) if network is not None else []):
        if any(layer.children()) or isinstance(layer, POINTWISE):
            continue
        if isinstance(layer, nn.Conv2d):
            reach = reach * layer.stride[0] + layer.dilation[0] * (layer.kernel_size[0] // 2)
        elif isinstance(layer, nn.Upsample) and layer.mode == "nearest" and layer.scale_factor:
            reach = -(-reach // int(layer.scale_factor))  # pyright: ignore[reportArgumentType]
        else:
            return None
    return reach
