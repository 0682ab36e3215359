"""Settings of files, batches and jobs."""

from __future__ import annotations

from pydantic import Field

from infra.settings.kinds import Cidr, Strict, Truth, Whole


class JobsScaling(Strict):
    """More workers with a longer queue; jobs.workers is the floor."""

    max_workers: Whole = Field(ge=1, le=500, description="Worker pods at most.")
    rows_per_worker: Whole = Field(
        ge=1, le=100_000, description="Requests that wait or are under way, for each worker: one more for each so many."
    )


class Jobs(Strict):
    enabled: Truth = Field(description="Files, batches and jobs at the gateways, and workers that do them.")
    workers: Whole = Field(ge=1, le=100, description="Worker pods; the floor where they scale.")
    scaling: JobsScaling | None = Field(description="null: the number of workers is fixed.")
    concurrency: Whole = Field(ge=1, le=1000, description="Requests under way in one worker.")
    cpu_millicores: Whole = Field(ge=50, le=16_000, description="CPU request of one worker pod.")
    memory_mib: Whole = Field(ge=128, le=65_536, description="Memory of one worker pod.")
    max_file_mib: Whole = Field(ge=1, le=5_000, description="Largest file that a client may send.")
    max_rows: Whole = Field(ge=1, le=1_000_000, description="Requests in one batch.")
    max_queued_rows: Whole = Field(ge=1, le=100_000_000, description="Requests of one tenant that may wait.")
    keep_days: Whole = Field(ge=1, le=3650, description="Files, and batches that ended, are deleted after so long.")
    webhook_cidrs: tuple[Cidr, ...] = Field(
        max_length=20, description="Private networks that webhooks may call, beside public addresses over HTTPS."
    )
