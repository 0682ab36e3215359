"""Reads one document from stdin and prints its text: `python -I extract_child.py KIND MOST_CHARACTERS`.

Run as a process of its own with bounds on memory and time, without the gateway's environment, for documents may be
made to harm. Imports nothing of this project. Exit status: 0 text on stdout, 3 a sentence for the client on stderr.
"""

from __future__ import annotations

import io
import sys

MOST_PAGES = 5000
SKIPPED = frozenset(("script", "style", "noscript", "template", "svg", "head", "iframe", "object"))
BLOCKS = frozenset(
    ("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure", "footer",
     "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section",
     "table", "tr", "ul")
)  # fmt: skip
HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}


class UnreadableError(Exception):
    """The message is for the client."""


def html(data: bytes, most: int) -> str:
    """Text with headings as Markdown has them. Walks without recursion: pages may nest a million deep."""
    from selectolax.lexbor import LexborHTMLParser

    node = LexborHTMLParser(data.decode("utf-8", "replace")).root
    parts: list[str] = []
    total = 0
    depth = 0
    while node is not None:
        tag = node.tag or ""
        inner = None
        if tag == "-text":
            text = " ".join((node.text_content or "").split())
            if text:
                parts.append(text + " ")
                total += len(text) + 1
                if total > most:
                    raise UnreadableError(f"the document has more than {most} characters of text, the limit")
        elif tag not in SKIPPED:
            if tag in BLOCKS:
                parts.append(f"\n\n{HEADINGS[tag]} " if tag in HEADINGS else "\n\n" if tag != "br" else "\n")
            inner = node.child
        if inner is not None:
            node, depth = inner, depth + 1
            continue
        while node is not None and node.next is None:
            node = node.parent
            depth -= 1
            if node is not None and node.tag in BLOCKS:
                parts.append("\n\n")
            if depth <= 0:
                return "".join(parts)
        node = None if node is None else node.next
    return "".join(parts)


def pdf(data: bytes, most: int) -> str:
    """The text of all pages, parted by form feeds."""
    import logging

    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.disable(logging.CRITICAL)
    pages: list[str] = []
    total = 0
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("the PDF is locked by a password")
        if len(reader.pages) > MOST_PAGES:
            raise UnreadableError(f"the PDF has more than {MOST_PAGES} pages, the limit")
        for page in reader.pages:
            pages.append(page.extract_text())
            total += len(pages[-1])
            if total > most:
                raise UnreadableError(f"the document has more than {most} characters of text, the limit")
    except UnreadableError:
        raise
    except PyPdfError as error:
        raise UnreadableError(f"the PDF is damaged ({type(error).__name__})") from None
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file ends in nearly any error of the library
        raise UnreadableError(f"the PDF cannot be read ({type(error).__name__})") from None
    return "\f".join(pages)


def main(arguments: list[str]) -> int:
    kind, most = arguments[0], int(arguments[1])
    data = sys.stdin.buffer.read()
    try:
        text = {"html": html, "pdf": pdf}[kind](data, most)
    except UnreadableError as error:
        print(error, file=sys.stderr)
        return 3
    except (MemoryError, RecursionError):
        print("the document needs more memory than one may have", file=sys.stderr)
        return 3
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
