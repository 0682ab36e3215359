"""The words of the built-in labels, with weights: 1 tells a label alone, less only beside others. English."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, Mapping[str, float]] = {
    "code": {
        "python": 1, "javascript": 1, "typescript": 1, "java": 1, "rust": 0.7, "golang": 1, "sql": 1, "bash": 1,
        "regex": 1, "stack trace": 1.5, "traceback": 1.5, "compile": 0.8, "compiler": 0.8, "function": 0.5, "bug": 0.7,
        "refactor": 1.2, "unit test": 1.2, "unit tests": 1.2, "api": 0.4, "class": 0.3, "loop": 0.5, "array": 0.6,
        "script": 0.6, "code": 0.9, "docker": 0.8, "kubernetes": 0.8, "git": 0.8, "exception": 0.7, "debug": 1,
        "null pointer": 1.2, "segfault": 1.2, "html": 0.8, "css": 0.9, "json schema": 0.8, "terraform": 1,
        "dockerfile": 1, "yaml": 0.7, "linter": 0.9, "segmentation fault": 1.5, "react": 0.6, "query plan": 0.9,
        "linked list": 1.2, "pytest": 1.2, "async": 1, "type hints": 1.2, "binary search": 1.2, "rebase": 1.2,
        "unused": 0.5, "component": 0.6, "callback": 1, "recursion": 1, "module": 0.5, "import": 0.6, "mock": 0.7,
        "algorithm": 0.9,
    },
    "maths": {
        "calculate": 1, "equation": 1.2, "solve": 0.7, "integral": 1.5, "derivative": 1.5, "probability": 1.1,
        "percentage": 0.9, "percent": 0.6, "square root": 1.5, "multiply": 1, "divided by": 1.2, "sum of": 0.6,
        "average": 0.6, "matrix": 0.9, "polynomial": 1.5, "theorem": 1.1, "prove that": 1, "prime": 0.8,
        "how many": 0.3, "interest rate": 0.7, "triangle": 0.9, "area of": 0.8, "factorise": 1.3, "plus": 0.4,
        "minus": 0.4, "times": 0.3, "algebra": 1.2, "geometry": 1.1, "standard deviation": 1.3,
        "compound interest": 1.2, "percent of": 1.3, "prime number": 1.4, "decimals": 1, "average speed": 1.2,
        "monthly payment": 1.2, "odd numbers": 1.2, "even numbers": 1.2, "round": 0.6, "the sum": 0.8, "miles to": 0.9,
        "fraction": 1.2, "simplify": 0.8, "ways to arrange": 1,
    },
    "translate": {
        "translate": 1.6, "translation": 1.3, "in german": 0.9, "in french": 0.9, "in spanish": 0.9, "into german": 1.2,
        "into french": 1.2, "into spanish": 1.2, "to english": 0.9, "into english": 1.2, "in italian": 0.9,
        "into japanese": 1.2, "in japanese": 0.9, "to french": 0.9, "to german": 0.9, "to spanish": 0.9,
        "into italian": 1.2, "how do you say": 1.4, "in english": 0.6, "into chinese": 1.2, "into portuguese": 1.2,
        "into dutch": 1.2, "into polish": 1.2, "in polish": 0.9, "dutch version": 1.2, "in mandarin": 1, "arabic": 0.8,
        "phrase": 0.5, "native speaker": 1, "render": 0.6, "english version": 1.1, "in latin": 0.9, "in turkish": 0.9,
        "in portuguese": 0.9, "into turkish": 1.2,
    },
    "summarise": {
        "summarise": 1.6, "summarize": 1.6, "summary": 1.3, "tldr": 1.5, "tl dr": 1.5, "in one sentence": 0.8,
        "key points": 1.1, "main points": 1.2, "shorten": 0.9, "condense": 1.2, "in a nutshell": 1, "gist": 1.2,
        "bullet points": 0.7, "executive summary": 1.5, "recap": 1.2, "boil down": 1.2, "takeaways": 1.1,
        "abstract of": 0.8, "boil": 1, "sum up": 1.4, "briefly": 1, "essentials": 1, "digest": 0.9,
        "short version": 1.2, "overview": 1, "one paragraph": 0.8, "in short": 1, "what matters": 0.7, "at most": 0.4,
        "reduce": 0.6,
    },
    "extract": {
        "extract": 1.5, "list all the": 0.9, "find all": 0.9, "pull out": 1.2, "which names": 0.9, "as json": 0.8,
        "fields": 0.6, "invoice": 0.4, "entities": 0.9, "from the text": 0.8, "from this text": 0.8, "parse": 0.8,
        "classify": 0.7, "label": 0.5, "dates mentioned": 1.1, "email addresses": 0.7, "phone numbers": 0.7,
        "into a table": 0.9, "return json": 0.9, "names of all": 0.8, "all the dates": 1, "mentioned in": 0.6,
        "line items": 1.1, "get the": 0.7, "identify": 1, "classify each": 1.2, "collect every": 1.2,
        "collect all": 1.2, "tag": 0.9, "find the": 0.7, "list every": 1.2, "are named": 0.9, "return": 0.6,
        "action item": 0.9, "json": 0.6, "list the": 0.8, "list all": 1, "fill the": 0.7, "from this": 0.5,
        "in the document": 0.5,
    },
    "write": {
        "write": 0.7, "draft": 1.2, "poem": 1.4, "story": 1.2, "essay": 1.3, "blog post": 1.4, "an email": 0.8,
        "cover letter": 1.4, "slogan": 1.3, "tweet": 1.1, "speech": 0.9, "rewrite": 1.1, "rephrase": 1.2, "haiku": 1.5,
        "product description": 1.2, "press release": 1.3, "compose": 1.2, "lyrics": 1.3, "limerick": 1.5,
        "a letter": 0.9, "more formal": 1, "more polite": 1, "advertisement": 1, "invitation": 0.8, "job posting": 1.2,
        "toast": 0.5, "complaint": 0.8, "post on": 1, "help me word": 1.4, "linkedin": 0.9, "farewell": 0.7,
        "friendlier": 1.1, "write a": 0.6,
    },
    "question": {
        "what is": 0.8, "what are": 0.8, "who is": 1, "who was": 1, "who wrote": 1, "when did": 1, "when was": 1,
        "where is": 1, "why do": 1.1, "why is": 0.9, "why does": 0.9, "how does": 0.9, "how do": 0.5, "explain": 1,
        "what does": 0.8, "which": 0.4, "difference between": 1, "how far": 0.9, "how long": 0.8, "how old": 1,
        "how tall": 1, "is it true": 1, "tell me about": 0.9, "meaning of": 0.8, "capital of": 1, "what causes": 1,
        "what happened": 0.9, "how many": 0.4, "can i": 0.4, "do i": 0.5, "does": 0.2, "side effects": 1,
        "do plants": 1, "do animals": 1,
    },
    "chat": {
        "hello": 1.2, "hi": 1.2, "hey": 1.1, "thanks": 1.3, "thank you": 1.3, "good morning": 1.5, "good evening": 1.5,
        "how are you": 1.7, "bye": 1.3, "goodbye": 1.5, "nice to meet": 1.5, "i feel": 0.8, "tell me a joke": 1.8,
        "good night": 1.5, "you are great": 1.2, "lol": 1.2, "i am bored": 1.4, "what's up": 1.5, "cheers": 1,
        "see you": 1.2, "well done": 1.1, "i'm sad": 1.3, "have a nice": 1.2, "chat with me": 1.5, "your name": 1.2,
        "long day": 1.2, "do you like": 1.2, "happy birthday": 1.2, "this evening": 0.4, "feel": 0.7, "a bit down": 1.2,
        "talk to me": 1.4, "you there": 1, "how was your": 1.2,
    },
}  # fmt: skip
