"""versions.yaml as one frozen whole."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tritonbuild.identifiers import BuildId
from tritonbuild.schema import Ability, BakedModel, Base, Cell, Defaults, Engine, ReleaseFacts, Server
from tritonbuild.shapes import Conflict, Entry, Name, Release
from tritonbuild.toolchain import Toolchain


def _mapping(data: Any, key: str) -> dict[str, Any]:
    """Return the mapping under ``key``, or an empty one where the data has another shape."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _fill_in_cell(default: dict[str, Any], cell: Any, vllm: Any) -> Any:
    """Return ``cell`` with what it leaves out and ``default`` says."""
    if not isinstance(cell, dict):
        return cell
    filled = {key: value for key, value in default.items() if key in Cell.model_fields} | cell
    if isinstance(filled.get("engine"), str):
        filled["engine"] = filled["engine"].replace("{vllm}", str(vllm))
    return filled


class Matrix(Entry):
    """The whole of versions.yaml."""

    defaults: Defaults
    bases: dict[Name, Base]
    servers: dict[Name, Server]
    toolchain: Toolchain = Field(default_factory=Toolchain)
    abilities: dict[Name, Ability] = Field(default_factory=dict)
    engines: dict[Name, Engine]
    models: dict[Name, BakedModel]
    releases: dict[Release, ReleaseFacts]

    @model_validator(mode="before")
    @classmethod
    def _fill_in_images(cls, data: Any) -> Any:
        """Give each release the images that every release has, and each image what it leaves out."""
        common = _mapping(_mapping(data, "defaults"), "images")
        releases = _mapping(data, "releases")
        if not common or not releases:
            return data
        everywhere: dict[str, Any] = {
            key: {} for key in common if _mapping(common, key).get("every_release") is True
        }
        filled = {}
        for release, facts in releases.items():
            filled[release] = facts
            own = facts.get("images", {}) if isinstance(facts, dict) else None
            if isinstance(own, dict) and (everywhere or own):
                vllm = _mapping(facts, "vllm").get("public")
                images = {
                    key: _fill_in_cell(_mapping(common, key), cell, vllm)
                    for key, cell in (everywhere | own).items()
                }
                filled[release] = facts | {"images": images}
        return data | {"releases": filled}

    def rows(self) -> list[BuildId]:
        """Return every row of the matrix, ordered."""
        return sorted(
            BuildId(release, *key.split("-", 1))
            for release, facts in self.releases.items()
            for key in facts.images
        )

    def cell(self, row: BuildId) -> Cell:
        return self.releases[row.release].images[f"{row.variant}-{row.source}"]

    def engine(self, row: BuildId) -> Engine | None:
        """Return the vLLM that is installed from a lock, or None where the base provides one."""
        name = self.cell(row).engine
        return None if name is None else self.engines[name]

    def conflicts(self, row: BuildId) -> tuple[Conflict, ...]:
        """Return those of the release, and the one that an engine in place of upstream's makes."""
        facts = self.releases[row.release]
        engine = self.engine(row)
        if engine is None or engine.substitute is None or engine.version == facts.vllm.public:
            return facts.conflicts
        substituted = Conflict(
            about=f"vllm of the {row.variant} variant",
            values=(
                f"{facts.vllm.public} (vllm of {row.release})",
                f"{engine.version} ({engine.package})",
            ),
            chosen=engine.version,
            reason=engine.substitute.reason,
        )
        return (*facts.conflicts, substituted)
