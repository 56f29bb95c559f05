"""`radfoundry embed COHORT --encoder ID --store DIR`: images to vectors, once."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from radfoundry.cohort import Cohort
    from radfoundry.encoders import Encoder
    from radfoundry.encoders.embed import EmbedResult
    from radfoundry.encoders.extract import Extractor
    from radfoundry.encoders.shards import Done


@dataclass(frozen=True)
class Embed:
    """Turn the images of a cohort into vectors and keep them; what is stored already is not computed again.

    Exits 1 when some images gave no vector (they are listed), 2 when nothing could be done, 3 when the
    store cannot be written, 130 when interrupted; the same command goes on from there.
    """

    cohort: tyro.conf.Positional[Path]
    """Cohort table (CSV or Parquet)."""
    encoder: str
    """Name of an encoder (`radfoundry encoders`), random:NAME, hf-hub:ORG/NAME@REVISION or local:PATH;
    radiomics[:SETTINGS] or lesion-size for features of masks."""
    store: Path
    """Folder that holds the vectors; made when absent, and shared by any number of cohorts and encoders."""
    columns: tuple[str, ...] = ()
    """Image columns; all by default."""
    lesion: Literal["auto", "point", "centroid", "box"] = "auto"
    """For encoders of lesions. auto: roi_x|y|z where a case has them, else the centroid of its mask. box: the
    middle of the mask's bounding box."""
    mask: str | None = None
    """Mask column; by default the one named like the image column, else the only one."""
    label: int | None = None
    """Label of the mask; by default its only one, 0 for all of them together."""
    device: str = "cpu"
    """cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """auto (the fastest that is proven equal), fp32, bf16 or openvino."""
    batch_size: int | None = None
    """Images that go through the model at once; by default 32 pictures, or volumes of 2 million voxels."""
    workers: int = 2
    """Threads that read and prepare images while the model runs; processes that compute radiomics."""
    accept_licence: tuple[str, ...] = ()
    """Names of restricted licences that you accept."""
    weights: Path | None = None
    """Local weights instead of the card's source."""
    revision: str | None = None
    """Branch, tag or commit of the weights."""
    seed: int = 0
    """For controls and random encoders."""
    engine: Literal["local", "ray"] = "local"
    """local (this process) or ray: parts of the cohort go to the workers of a Ray cluster."""
    ray_address: str | None = None
    """Ray cluster: auto or HOST:PORT; without it a cluster of this machine. Store, images and --weights must
    lie on a file system that every node mounts under the same path."""
    shards: int | None = None
    """Parts for Ray, 16 by default; at most so many workers are busy at once."""
    export: Path | None = None
    """Also write this cohort's vectors to one Parquet file."""
    why: str | None = None
    """Instead: say each time a case was computed in this store, and why."""
    quiet: bool = False
    """No progress bar."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.encoders.store import Store

        if self.why is not None:
            events = Store(self.store).why(self.why)
            print(jsonlib.dumps(events, indent=2) if self.json else "\n".join(events))
            return 0
        from radfoundry.cohort import read_cohort
        from radfoundry.encoders.extractors import is_extractor
        from radfoundry.errors import RadfoundryError

        if self.engine == "local" and (self.ray_address is not None or self.shards is not None):
            raise RadfoundryError("--ray-address and --shards go with --engine ray: add it or leave them out")
        cohort = read_cohort(self.cohort)
        Store(self.store)  # a wrong folder is refused before the weights are loaded
        maker, result = (self._extract if is_extractor(self.encoder) else self._embed)(cohort)
        if self.export is not None:
            Store(self.store).export(result.embeddings, self.export)
        self._print(maker, result)
        return 1 if result.failures else 0

    def _extract(self, cohort: Cohort) -> tuple[Extractor, EmbedResult]:
        from radfoundry.encoders import extractors
        from radfoundry.encoders.extract import extract

        extractor = extractors.load(self.encoder)
        options: dict[str, Any] = {
            "columns": self.columns or None, "mask": self.mask, "label": self.label, "workers": self.workers,
        }  # fmt: skip
        done = self._on_workers(cohort, extractor, {}, {**options, "workers": 1})
        result = extract(
            cohort,
            extractor,
            self.store,
            processes=self.workers if self.workers > 1 and extractor.dim > 3 else 0,  # sizes take no time
            quiet=self.quiet,
            **options,
        )
        return extractor, self._with(done, result)

    def _embed(self, cohort: Cohort) -> tuple[Encoder, EmbedResult]:
        from radfoundry import encoders

        loading: dict[str, Any] = {
            "weights": self.weights, "revision": self.revision, "device": self.device,
            "precision": self.precision, "accept_licences": self.accept_licence, "seed": self.seed,
        }  # fmt: skip
        options: dict[str, Any] = {
            "columns": self.columns or None, "lesion": self.lesion, "mask": self.mask, "label": self.label,
            "batch_size": self.batch_size, "workers": self.workers,
        }  # fmt: skip
        encoder = encoders.load(self.encoder, **loading)
        done = self._on_workers(cohort, encoder, loading, options)
        result = encoders.embed(cohort, encoder, self.store, quiet=self.quiet, **options)
        return encoder, self._with(done, result)

    def _on_workers(
        self, cohort: Cohort, maker: Encoder | Extractor, loading: dict[str, Any], options: dict[str, Any]
    ) -> Done | None:
        """Let the workers of a cluster fill the store, if asked for."""
        if self.engine == "local":
            return None
        from radfoundry.encoders import shards

        job = shards.Job(self.encoder, self.store, loading, options)
        return shards.run(
            cohort, job, maker, engine=self.engine, shards=self.shards, address=self.ray_address,
            quiet=self.quiet,
        )  # fmt: skip

    @staticmethod
    def _with(done: Done | None, result: EmbedResult) -> EmbedResult:
        if done is None:
            return result
        for case_id, column, message in done.only_there(result):
            print(f"done here, not by a worker: case {case_id}, {column}: {message}", file=sys.stderr)
        return done.added_to(result)

    def _print(self, encoder: Encoder | Extractor, result: EmbedResult) -> None:
        for case_id, column, message in result.failures:
            print(f"failed: case {case_id}, {column}: {message}", file=sys.stderr)
        report = self._report(encoder, result)
        if self.json:
            print(jsonlib.dumps(report, indent=2, ensure_ascii=False))
            return
        timing = result.timing
        engine = report["provenance"].get("engine")  # an extractor has none
        outside = f", {timing['outside_share']:.0%} of it outside the model" if engine else ""
        print(
            f"{report['embedded']} of {report['images']} images embedded with {report['encoder']} "
            f"({report['dim']} numbers each{f', {engine}' if engine else ''})\n"
            f"{timing['computed']:.0f} computed, {timing['read']:.0f} read, {timing['reused']:.0f} stored "
            f"before; {len(result.failures)} failed\n"
            f"{timing['seconds']:.1f} s{outside}\n"
            f"store: {self.store}, fingerprint {encoder.fingerprint[:12]}"
        )
        if self.export is not None:
            print(f"exported: {self.export}")

    def _report(self, encoder: Encoder | Extractor, result: EmbedResult) -> dict[str, Any]:
        return {
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint,
            "dim": encoder.dim,
            "provenance": dict(encoder.provenance),
            "licences_accepted": list(self.accept_licence),
            "store": str(self.store),
            "export": None if self.export is None else str(self.export),
            "images": int(result.timing["images"]),
            "embedded": len(result.embeddings.vectors),
            "failures": [
                {"case_id": case, "column": column, "message": message}
                for case, column, message in result.failures
            ],
            "timing": result.timing,
        }
