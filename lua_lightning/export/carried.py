"""What the exported models share: a folder that a model is saved into again gets the model's code too."""

import inspect
import shutil
from pathlib import Path
from typing import Any

from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin


class CarriedModel(ModelMixin, ConfigMixin):
    """A model of diffusers whose code is a file beside its weights."""

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write configuration, weights and code into a folder, and push them where `push_to_hub` says so."""
        source = Path(inspect.getfile(type(self)))
        target = Path(save_directory) / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.resolve() != source.resolve():
            shutil.copyfile(source, target)
        super().save_pretrained(save_directory, *args, **kwargs)
