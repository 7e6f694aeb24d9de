"""How a data set's images are made of a person's files."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Preparation:
    """How files become images of a data set."""

    size: tuple[int, int] | None = None  # height, width; None: as they are
    fit: Literal["crop", "pad", "squeeze", "contain"] = "crop"
    ground: str = "auto"  # behind what is transparent: black, white, #rrggbb

    @classmethod
    def parsed(cls, image_size: str, fit: str, ground: str) -> "Preparation":
        """From the parameters of these names."""
        sides = [int(side) for side in image_size.split("x")]
        return cls((sides[0], sides[-1]) if sides[0] else None, fit, ground)

    def contradicts(self, other: "Preparation") -> bool:
        """Whether it asks for anything but `other`, which is what was done."""
        sizes = self.size != other.size or (self.size is not None and self.fit != other.fit)
        return sizes or self.ground not in ("auto", other.ground)
