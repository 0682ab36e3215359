"""The text of a document. What a library must take apart is read in a process of its own, with bounds."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from app.gateway.errors import Problem, Refused, retry_after
from app.retrieval.chunks import clean
from app.retrieval.config import RetrievalConfig

CHILD = Path(__file__).with_name("extract_child.py")
KINDS = {
    "text/plain": "text",
    "text/markdown": "text",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
}
"""Media type -> how it is read."""
MOST_WAITING = 16
_CODE_UNREADABLE = 3

BUSY = Problem(503, "Too many documents are being read. Try again in 2 s.", "retrieval_busy", headers=retry_after())


def _unreadable(message: str) -> Refused:
    return Refused(Problem(422, f"The document cannot be used: {message}.", "unreadable_document", "data"))


class Extractor:
    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._places = asyncio.Semaphore(config.max_extractions)
        self._waiting = 0

    async def text(self, data: bytes, media_type: str) -> str:
        """Raises Refused (422, 503)."""
        kind = KINDS[media_type]
        if kind == "text":
            text = data.decode("utf-8", "replace")
        else:
            if self._waiting >= MOST_WAITING:
                raise Refused(BUSY)
            self._waiting += 1
            try:
                async with self._places:
                    text = await self._in_child(kind, data)
            finally:
                self._waiting -= 1
        text = clean(text)
        if len(text) > self._config.max_text_characters:
            raise _unreadable(
                f"the document has more than {self._config.max_text_characters} characters of text, the limit"
            )
        if not text.strip():
            raise _unreadable("it holds no text (scanned pages need text recognition first)")
        return text

    def _bounds(self) -> None:
        """Runs in the child before the program: memory, processor time, no files, no further processes' memory."""
        memory, seconds = self._config.extract_memory_mib * 1024 * 1024, int(self._config.extract_seconds) + 1
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    async def _in_child(self, kind: str, data: bytes) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(CHILD), kind, str(self._config.max_text_characters)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},  # nothing of the gateway's, which holds passwords
            preexec_fn=self._bounds,
        )
        try:
            async with asyncio.timeout(self._config.extract_seconds):
                output, said = await process.communicate(data)
        except TimeoutError:
            raise _unreadable(f"reading it took longer than {self._config.extract_seconds:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == _CODE_UNREADABLE:
            raise _unreadable(said.decode("utf-8", "replace").strip()[:300])
        if process.returncode != 0:
            raise _unreadable("reading it failed, or needed more memory or time than one document may have")
        return output.decode("utf-8", "replace")
