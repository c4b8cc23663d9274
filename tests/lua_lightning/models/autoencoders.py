"""Small autoencoders of diffusers' real classes, with random weights."""

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderTiny

KINDS = ["AutoencoderKL (SDXL: no shift)", "AutoencoderKL (SD3, FLUX: shift)", "AutoencoderTiny", "AutoencoderKLFlux2"]


def kl(**changes):
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
        **changes,
    )


def build(name):
    torch.manual_seed(0)
    if name == "AutoencoderKL (SDXL: no shift)":
        return kl(scaling_factor=0.13025)
    if name == "AutoencoderKL (SD3, FLUX: shift)":
        return kl(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False)
    if name == "AutoencoderTiny":
        return AutoencoderTiny(
            latent_channels=16,
            encoder_block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
        )
    model = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4, layers_per_block=1
    )
    model.bn.running_mean.copy_(torch.randn(16))
    model.bn.running_var.copy_(torch.rand(16) + 0.5)
    return model
