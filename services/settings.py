"""Every setting of the system, in one class. Each can be set as an environment variable `ANONFACES_<NAME>`."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[1]

Precision = Literal["int8", "float32"]
NoFacePolicy = Literal["refuse", "pass"]
SmallFacePolicy = Literal["mask", "refuse"]
StrangerPolicy = Literal["assign", "mask", "refuse"]


class Settings(BaseSettings):
    """Defaults are those of a laptop or a CI machine with one CPU worker."""

    model_config = SettingsConfigDict(env_prefix="ANONFACES_", extra="ignore")

    # Where things are.
    home: Path = Field(ROOT / ".anonfaces", description="weights, cluster indexes, logs of the local stack")
    model_repository: Path = Field(ROOT / "model_repository", description="Triton's model repository")
    index: str = Field("demo", description="name of the cluster index to serve (a folder of home/indexes), or a path")
    enrolment: Literal["auto", "require", "off"] = Field(
        "auto", description="enrolled people are recognised where their encrypted map is there, must be, or are not"
    )
    enrolment_maps: Path | None = Field(None, description="folder of the index's maps; None: home/maps/<its name>")
    enrolment_key: Path | None = Field(None, description="file of the maps' key; None: home/keys/<its name>.key")
    index_poll_s: float = Field(5.0, ge=0, description="how often a new version of the index is looked for; 0: never")

    # The network.
    host: str = Field("127.0.0.1", description="address the service listens on, by HTTP and by gRPC")
    port: int = Field(8080, ge=0, le=65535, description="port of the HTTP interface; 0 picks a free one")
    grpc_port: int = Field(8081, ge=0, le=65535, description="port of the gRPC interface; 0: no gRPC")
    workers: int = Field(1, ge=1, le=64, description="processes that serve; limits below hold for each of them")
    api_keys: Path | None = Field(
        None, description="file of hashed API keys, read again when it changes; None: no keys"
    )
    allow_anonymous: bool = Field(
        False, description="serve without API keys on other addresses than loopback: who may ask is decided elsewhere"
    )
    open_metrics: bool = Field(False, description="/metrics needs no API key, for a scraper that has none")
    tls_certificate: Path | None = Field(None, description="PEM certificate chain of both ports; None: no TLS")
    tls_key: Path | None = Field(None, description="PEM key of the certificate")
    tls_client_ca: Path | None = Field(None, description="PEM certificates that clients must be signed by (mTLS)")

    # Traces. Metrics are always there, at /metrics.
    otlp_endpoint: str | None = Field(
        None,
        description="URL of an OpenTelemetry collector (OTLP over HTTP), as http://127.0.0.1:4318; None: no traces",
    )
    trace_share: float = Field(
        0.01, ge=0, le=1, description="share of requests traced, where the caller does not decide"
    )

    # The model server.
    triton_url: str = Field("127.0.0.1:8001", description="host:port of Triton's gRPC endpoint; never publish it")
    triton_timeout_s: float = Field(20.0, gt=0, description="longest wait for one inference")
    ready_ttl_s: float = Field(30.0, ge=0, description="for how long an inference that worked counts as readiness")

    # Which models. Building an index takes centerface, dlib-resnet and mobile-stylegan-1024 where none is named.
    detector: str | None = Field(None, description="name of a detector; None: the index's")
    detector_precision: Precision = Field(
        "int8", description="how the detector's first look calculates: int8 on CPUs, float32 on GPUs"
    )
    embedder: str | None = Field(None, description="name of an embedder, shipped or converted; None: the index's")
    generator: str | None = Field(None, description="name of a generator, shipped or converted; None: the index's")
    other_generators: str = Field(
        "", description="further generators of the same latents that a request may name, separated by commas"
    )

    # Limits, checked before a photo is decoded.
    max_body_bytes: int = Field(32 * 1024 * 1024, gt=0, description="largest request body")
    max_pixels: int = Field(40_000_000, gt=0, description="most pixels (width x height) of a photo")
    max_side_px: int = Field(16_383, gt=0, le=16_383, description="longest side of a photo; WebP holds no more")
    min_side_px: int = Field(16, gt=0, description="shortest side of a photo")
    max_faces: int = Field(64, gt=0, description="most faces in one photo")
    max_batch_photos: int = Field(16, gt=0, description="most photos of one anonymize:batch")
    max_batch_bytes: int = Field(128 * 1024 * 1024, gt=0, description="largest body of an anonymize:batch")
    request_timeout_s: float = Field(60.0, gt=0, description="longest time for one photo, waiting included")
    queue_timeout_s: float = Field(20.0, gt=0, description="longest wait for a turn; who waits longer is turned away")
    max_concurrency: int = Field(8, gt=0, description="photos worked on at the same time; more of them wait")
    max_pixels_in_work: int = Field(64_000_000, gt=0, description="pixels of the photos worked on at the same time")
    max_queue: int = Field(64, ge=0, description="requests held beyond those worked on; more are turned away")
    max_held_bytes: int = Field(256 * 1024 * 1024, gt=0, description="bytes of bodies held; more are turned away")

    # What counts as a face, and which faces can be replaced.
    detect_score: float = Field(0.45, gt=0, lt=1, description="from this score on a detection is treated as a face")
    replace_score: float = Field(0.50, gt=0, lt=1, description="below this score a face is masked, not replaced")
    detect_min_px: float = Field(32.0, gt=0, description="faces from this size on are looked for, in tiles if need be")
    replace_min_px: float = Field(24.0, gt=0, description="faces whose longer box side is shorter are masked")
    identity_threshold: float | None = Field(
        None, gt=0, description="a face nearer than this to an enrolled embedding is that person; None: the index says"
    )

    # Policies. A request may be stricter than these; laxer only if that is allowed here.
    may_relax: bool = Field(False, description="requests may choose laxer policies than these settings")
    no_face: NoFacePolicy = Field("refuse", description="a photo without faces: refuse it, or pass it on re-encoded")
    small_face: SmallFacePolicy = Field(
        "mask", description="a face too small, uncertain or turned away to be replaced: mask it, or refuse the photo"
    )
    stranger: StrangerPolicy = Field("assign", description="a face nobody enrolled: nearest crowd, mask, or refuse")

    # Synthesis and output.
    surrogate_cache_bytes: int = Field(256 * 1024 * 1024, gt=0, description="bytes of surrogates kept per worker")
    jpeg_quality: int = Field(92, ge=1, le=100, description="quality of JPEG and WebP output")

    @property
    def weights_dir(self) -> Path:
        return self.home / "weights"

    @property
    def populations_dir(self) -> Path:
        return self.home / "populations"

    @property
    def index_path(self) -> Path:
        """The folder of the cluster index: `index` as a path if it holds a separator, else by name below `home`."""
        return Path(self.index) if "/" in self.index else self.home / "indexes" / self.index


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once from its environment.

    Raises:
        ConfigurationError: one of them is not valid; names it, and not its value.
    """
    try:
        return Settings()
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"ANONFACES_{name}: {first['msg']}") from None
