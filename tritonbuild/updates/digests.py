"""Images whose digest is not the pinned one any more, or that have none yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tritonbuild.engine import Lookup
from tritonbuild.matrix import Matrix
from tritonbuild.references import split_registry
from tritonbuild.schema import Image
from tritonbuild.spec import resolve_spec
from tritonbuild.updates.policy import Proposal, Unanswered
from tritonbuild.yamledit import Edit


@dataclass(frozen=True, kw_only=True)
class _Pinned:
    """An image as versions.yaml has it: where its digest stands, or is to stand."""

    table: str
    name: str
    release: str
    entry: Image
    reference: str
    digest: str | None

    @property
    def path(self) -> tuple[str, ...]:
        of_release = ("digests", self.release) if "{" in str(self.entry.ref) else ("digest",)
        return (self.table, self.name, *of_release)


@dataclass(frozen=True, kw_only=True)
class ImageDigests:
    """Asks for every image once, and a registry that gives no answer no second time."""

    matrix: Matrix
    ask: Callable[[str], Lookup]
    family: str = "image digests"

    def find(self) -> Iterator[Proposal | Unanswered | None]:
        silent: dict[str, list[str]] = {}
        reasons: dict[str, str] = {}
        for image in self._images():
            registry = split_registry(image.reference)[0]
            if registry in reasons:
                silent[registry].append(image.reference)
                continue
            answer = self.ask(image.reference)
            if not answer.reached:
                reasons[registry], silent[registry] = answer.reason or "", [image.reference]
            elif answer.digest is None:
                yield Unanswered(family=self.family, subject=image.reference, reason=answer.reason or "")
            elif answer.digest == image.digest:
                yield None
            else:
                yield self._propose(image, answer.digest)
        for registry, references in silent.items():
            subject = references[0] + (f" and {len(references) - 1} more" if len(references) > 1 else "")
            reason = f"{registry} gave no answer: {reasons[registry]}"
            yield Unanswered(family=self.family, subject=subject, reason=reason)

    def _propose(self, image: _Pinned, digest: str) -> Proposal:
        moved = "a tag that moves is another image: build and smoke-test its rows"
        return Proposal(
            family=self.family,
            subject=".".join(image.path),
            current=image.digest or "none",
            latest=digest,
            remedy=moved if image.digest else "compare it with another source before relying on it",
            edits=(Edit(path=image.path, value=digest, after="ref"),),
        )

    def _images(self) -> list[_Pinned]:
        found: dict[tuple[str, ...], _Pinned] = {}
        for row in self.matrix.rows():
            spec, cell = resolve_spec(self.matrix, row), self.matrix.cell(row)
            for table, name, resolved in (
                ("bases", cell.base, spec.base),
                ("servers", cell.server, spec.server),
            ):
                if resolved.ref:
                    entry: Image = getattr(self.matrix, table)[name]
                    image = _Pinned(
                        table=table,
                        name=name,
                        release=row.release,
                        entry=entry,
                        reference=resolved.ref,
                        digest=resolved.digest,
                    )
                    found.setdefault(image.path, image)
        return list(found.values())
