"""What the simulated engine can talk about: its own sentences, chosen by the words of the question.

A sentence has no full stop, question mark or exclamation mark before its end: that is how a text that breaks off is
recognised and continued. A few hold characters of several bytes, which arrive as several tokens, as from a real engine.
"""

from __future__ import annotations

BANK: dict[str, tuple[str, ...]] = {
    "spot interruption reclaim preemptible": (
        "Spot nodes are cheap because the cloud may take them back with a notice of two minutes.",
        "When the notice comes, the node is cordoned, its pods are drained, and new requests go to other engines.",
        "A drain lets every open stream reach its end before the machine disappears.",
        "Without the drain a reader would see an answer break off in the middle of a sentence.",
        "The sum of the waits must fit the notice: 15 s to leave the endpoints + 60 s to finish ≈ 75 s of 120 s.",
        "A small floor of on demand nodes keeps the service alive when one zone has no spot capacity at all.",
    ),
    "drain shutdown sigterm terminate termination graceful": (
        "A drain has three parts: stop the new work, finish the old work, then exit.",
        "The pod leaves the endpoints first, because an engine that is draining refuses new requests.",
        "The grace period is longer than the pre-stop wait and the shutdown time-out together.",
        "The gateway treats a refused request during a drain as a reason to try another engine.",
        "Nothing is lost when every step waits for the step before it: endpoints → streams → process.",
    ),
    "release colour color blue green weight shift rollback canary deploy deployment": (
        "A release moves traffic from one colour to the other by changing two weights in one rule.",
        "Both colours run at the same time, so that going back is the same small change in reverse.",
        "The preview shows one integer on one resource, which is easy to review.",
        "A colour is the gateway, the engines and the target group that were tested together.",
        "Move 5 percent first, watch the time to the first token, then move the rest.",
    ),
    "zone failover outage availability redundancy": (
        "Each zone holds enough engines to carry the load when another zone is lost.",
        "The gateway prefers engines of its own zone and crosses the border only when it must.",
        "The numbers are computed: replicas, subnets, cache and database all survive the loss of one zone.",
        "Traffic between zones costs money and time, about 1 ms each way, so it is kept for trouble.",
    ),
    "gateway request route routing balance balancer retry proxy": (
        "The gateway checks the key, picks an engine with the least work in flight, and relays the stream.",
        "Before the first byte a failed attempt moves to another engine and the client never sees it.",
        "After the first byte a retry would repeat words, so the stream is continued from the text so far.",
        "Nothing is buffered on the way: every token leaves as soon as it arrives.",
        "Errors have one shape, so that a client can tell a mistake of its own from a busy server.",
    ),
    "cache prefix prompt kv memory block": (
        "The KV cache keeps the keys and values of past tokens in blocks, so that they are not computed twice.",
        "Requests that begin with the same prompt share those blocks, and their prefill is almost free.",
        "The gateway sends such requests to the same engine, where the prefix is still warm.",
        "When the cache is full, the youngest request is preempted and computed again later.",
        "A block holds 16 tokens and is known by a hash of everything before its end.",
    ),
    "latency ttft slow fast prefill decode token tokens throughput batch batching speed": (
        "The time to the first token is spent in the queue and in the prefill, which reads the whole prompt.",
        "After that each token costs one decode step, and many requests share the same step.",
        "A larger batch gives more tokens per second and a little more time between two tokens.",
        "Watch the median and the slowest percent apart: users feel the second one.",
        "A step of 12 ms per token reads as ≈ 80 tokens per second, faster than anyone can follow.",
    ),
    "cost price budget money cheap expensive save saving bill": (
        "The largest part of the bill is the time that accelerators stand idle.",
        "Spot nodes first, on demand nodes behind them, and a budget that raises an alarm early.",
        "A smaller model for simple questions often saves more than any discount.",
        "Every request is entered in a ledger, so that a team sees what it spends while it spends it.",
    ),
    "gpu accelerator node nodes cluster kubernetes pod pods scheduler": (
        "An engine asks for whole accelerators, and the scheduler places its pod on a node that has them free.",
        "Labels tell the zone and the kind of capacity, and spread rules keep replicas apart.",
        "A disruption budget keeps enough pods running while nodes are replaced one by one.",
        "A new node needs minutes to load the weights, so capacity is ordered before it is needed.",
    ),
    "pulumi infrastructure stack preview program code provision terraform aws": (
        "One program in Python describes everything from the network to the engines.",
        "The preview lists what would change, and a second preview after the update is empty.",
        "Settings live in one file per environment, and a wrong key is refused by its full path.",
        "The same program runs whole on one machine before it costs anything in the cloud.",
    ),
    "key keys secret secrets auth security iam permission permissions encrypt encryption": (
        "A key is stored only as a hash, and the gateway compares hashes in constant time.",
        "Each class of data has an encryption key of its own, with rotation switched on.",
        "A role may do what its work needs and nothing else.",
        "Secrets stay encrypted in the state file and never appear in a log.",
    ),
    "hello hi hey greetings thanks thank": (
        "Hello, this is the simulated engine of Penstock.",
        "I have no model inside, but I keep the manners of a real one: tokens, queues, caches and drains.",
        "Ask me about releases, spot nodes, zones, caches or cost.",
    ),
}
"""Words of a question -> sentences that suit it."""

OPENERS = (
    "Here is the short version of {topic}.",
    "Let us look at {topic} step by step.",
    "The question of {topic} has a simple core.",
    "There are two sides to {topic}.",
)

GENERAL = (
    "First, the parts around {topic} are kept small, so that each one can be replaced alone.",
    "Then the work is measured, because a number ends more debates about {topic} than an opinion.",
    "A good plan for {topic} names what may fail and what happens next.",
    "Where {topic} meets {other}, one of them must give way, and it should be clear which.",
    "The first trial of {topic} is always small, watched closely, and easy to undo.",
    "In the end {topic} is a matter of order: prepare, change one thing, look, go on.",
    "People who work with {other} know this from experience.",
    "The cost of {topic} is seldom where one looks first.",
)

SUBJECTS = (
    "The gateway", "A quiet engine", "The second zone", "Every stream", "The scheduler", "A warm cache", "The release",
    "The next step", "A careful team", "The whole platform", "The river", "A small turbine", "The valve",
    "The reservoir",
)  # fmt: skip

VERBS = (
    "carries", "waits for", "measures", "protects", "follows", "prepares", "replaces", "keeps", "returns to", "feeds",
)  # fmt: skip

OBJECTS = (
    "the water behind it", "one request after another", "the last open stream", "a steady flow of tokens",
    "the work of the other zone", "what was promised", "the number on the gauge", "the slow part of the day",
    "a spare node", "the pressure in the pipe", "everything that is in flight",
)  # fmt: skip

ENDINGS = (
    ", and nothing is lost on the way.", " until the load falls again.", ", which is all that users notice.",
    " before the next change begins.", ", one step at a time.", " while the others sleep.", ".",
)  # fmt: skip

TAILS = (
    " and so the flow goes on, steady and under control.",
    " because every part waits for the one before it.",
    " while the gauge shows a calm and even pressure.",
    " and the last open stream reaches its end.",
)
"""How a sentence that somebody else began is brought to its end."""

COMMON = """
a able about above across act add after again against ago all allow almost alone along already also although always am
among an and another answer any anyone anything app apply are area around as ask at available away back bad base be
became because become been before began begin behind being below best better between big both bring build built but by
call came can case cause change check choose city class clear close cloud come common company compare complete config
control cost could country course create current data date day days deep default delete describe design detail develop
did different do does doing done down draw drive due during each early easy effect either else empty end ends engine
enough error even event ever every everyone example explain face fact fail failed family far fast feel few field file
files fill final find fine first five fix follow food for form found four free friend from front full function further
future game gave general get give given go goes going gone good got great group grow had half hand happen happy hard has
have he head health hear heart help her here high him his hold home hope hour hours house how however human idea if
image important in include increase information input inside instead into is issue it its itself job join just keep kind
know known large last late later law lead learn least leave left less let letter level life light like limit line lines
list little live local long look low machine made main make makes making man many mark market matter may maybe me mean
means meet member men message might mind minute minutes miss model models money month more morning most mother move much
music must my name names near need needs never new news next night no none not note nothing now number of off office
often old on once one only open or order other our out output over own page paper part parts party pass past path pay
people per percent perhaps person place plan play please point policy possible power present press pretty problem
process product project provide public put python quality question questions quick quickly quite rate rather read ready
real reason receive record reduce report result return review rich right rise road role room rule run running said same
save say says school science score sea second section see seem seen send sent server service set several she short
should show side sign simple since single sister sit site six size sky sleep small so social some someone something
sometimes son song soon sound source south space speak special spend stand start state stay step still stop store story
street strong student study such sun support sure system table take talk task teach team tell ten term test text than
that the their them then there these they thing things think third this those though thought thousand three through
time times to today together told tomorrow too took top toward town train travel tree tried true try turn two type under
understand unit until up upon us use used useful usual value very view voice wait walk wall want war warm was watch
water way we week well went were west what when where whether which while white who whole whose why wide will wind
window wish with within without woman word words work worker world would write writing wrong year years yes yesterday
yet you young your zero
"""
"""Frequent English words: each is one token."""

FRAGMENTS = """
th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro ic ne ea
ra ce li ch ll be ma si om ur ing ion ent ter ati tion tio ate all ere her ess ers con ver pro com per int est ant sta
res ist ive ment men ine ght ous able ness pre dis age ity ies ful ful ary ory ical ally less over under inter trans
"""
"""Pieces for all other words."""
