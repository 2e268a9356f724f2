"""The words that decide where English sentences end and phrases begin, in lower case."""

_ABBREVIATIONS = """
dr mr mrs ms mx prof rev hon gen col maj capt lt sgt cmdr gov sen rep pres supt st mt ft vs cf al approx est fig figs
vol pp ed eds viz ca dept univ assn bros nos e.g i.e
"""
_TRAILING = """
etc inc ltd co corp jr sr llc plc esq a.m p.m ph.d b.a m.a m.d
"""
_STARTERS = """
a an and are as at but can did do does for he her here his how however i if in is it its let many more my no on one our
please she so some that the then there these they this those to was we what when where who why will yes you your
"""
_PHRASES = """
and or but because that which who whose when where while if so to for with in on at from about as by than into through
until before after since unless although
"""

# A full stop after one of these does not end the sentence. "no" is missing on purpose: "No. I cannot" is commoner in
# speech than "No. 5", which its digit tells.
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
# After one of these it does when a capital follows.
TRAILING_ABBREVIATIONS = frozenset(_TRAILING.split())
# After initials such as "U.S." only these begin a sentence for certain (the rule of pysbd's abbreviation replacer).
STARTERS = frozenset(_STARTERS.split())
# A cut that must be made without a mark is made before one of these.
PHRASE_STARTS = frozenset(_PHRASES.split())
