"""Words for what can be seen, and words for what cannot: by them a description is told from a history.

They are general - colours, patterns, shapes, sizes, surfaces, and parts of animals, plants and machines - so that no
kind of thing needs a list of its own, and English, which the text towers of teachers read best. Words that serve
either side alike ("light", "range", "engine", "call") are in neither list, unless one meaning is by far the usual
one.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_COLOURS: Final = """
    amber auburn azure beige black blond blue bright bronze brown buff burgundy carmine charcoal chestnut chocolate
    cinnamon color coloration colour colouration copper coral cream crimson dark drab dull dusky ebony emerald fawn
    gold golden gray green grey hue indigo iridescent ivory jet khaki lavender lemon lilac lime magenta mahogany
    maroon mauve metallic monochrome mustard navy ochre olive orange pale pastel peach pearl pigment pink plum
    purple red rose rosy ruby ruddy rufous russet rust saffron salmon sandy scarlet sepia shade silver slate slaty
    sooty straw sulfur sulphur tan tawny teal tinge tint tone turquoise umber vermilion vibrant violet vivid white
    wine yellow
"""
_PATTERNS: Final = """
    band bar bicolor bicolored blotch border brindle checker chequer chevron contrast crosshatch dapple decal dot
    edging eyespot eyestripe fleck freckle fringe gradient line livery logo mark marking mask merle mottle mottling
    ocellus outline patch pattern pinstripe plain ring saddle scallop smudge speckle splash spot stipple streak
    striate stripe tabby ticking tricolor tricolour trim vein vermiculate vermiculation wash
"""
_SHAPES: Final = """
    angle angular arch arched asymmetrical barrel blunt boxy bulbous bulge bulky chiseled chunky circular compact
    concave cone conical contour convex crescent crest curl curvature curve curvy cylindrical decurved delta diamond
    dome droop elliptical elongate fan flare flat fluffy fork groove heart hook horizontal hump irregular jagged
    keel lobe lozenge muscular notch oblong oval ovate parallel pear pendulous plump pointed pointy profile
    proportion protrude pyramidal raked rectangular ridge robust round sculpted serrate shape sharp silhouette slant
    sleek slender slim slope smooth sphere spherical spike spiral spoon square stance stocky stout straight
    streamline stubby sturdy sweep swept symmetrical symmetry taper teardrop thick thin tip triangle triangular
    tubular tufted twist upright upturned vertical wavy wedge wrinkle
"""
_SIZES: Final = """
    big broad deep enormous fine huge large length little long low massive medium miniature narrow oversized short
    size slight small tall tiny wide wingspan
"""
_SURFACES: Final = """
    bald bare bristle coarse crease dense downy fine furry fuzzy glossy hairless hairy luster lustre lustrous matte
    papery pitted polished prickly rough satin scaly scruffy shaggy sheen shiny silky soft sparse spiny texture
    translucent transparent velvet velvety waxy wiry woolly
"""
_ANIMALS: Final = """
    abdomen antenna antennae back beak beard belly bib bill body breast brow cap cere cheek chest chin claw coat
    covert crown culmen dewlap ear eye eyebrow eyering face facial feather feet fin flank foot forehead foreleg
    forewing fur gape gill gorget hair head hindwing hock hood hoof horn iris jaw leg limb lore mandible mane mantle
    moustache muzzle nape neck nose nostril paw plumage plume primaries proboscis rump scale secondaries shoulder
    skull snout supercilium tail talon tarsus thigh thorax throat toe tongue topknot torso tuft undercoat underpart
    underside undertail underwing upperpart upperside vent wattle web whisker wing wingtip
"""
_PLANTS: Final = """
    anther bark blossom branch bud bulb calyx cluster flesh floret flower foliage frond husk kernel leaf leaflet
    leaves peel petal pith pod pulp rind rosette seed sepal skin spine stalk stamen stem stigma thorn trunk twig
"""
_MACHINES: Final = """
    aileron alloy badge beltline biplane bodywork bonnet bumper cabin canard canopy chrome cladding cockpit
    convertible coupe cowl cowling dashboard door elevator emblem empennage exhaust exterior fairing fascia fender
    float fuselage glass grill grille handlebar hardtop hatchback headlamp headlight headrest hubcap hull inlet
    intake lamp lens liftgate louver mirror monoplane nacelle panel pillar porthole propeller pylon rim roof
    roofline rotor rudder seat sedan sidewall skid skirt spoiler spoke stabiliser stabilizer strut sunroof tailfin
    tailgate taillight tailpipe tailplane tire trijet turbofan turboprop turret tyre undercarriage wagon wheel
    wheelbase window windscreen windshield winglet
"""
_UNSEEN: Final = """
    abundant agile ancestor bred breed breeder breeding century climate coast coastal colony commercial companion
    conservation cruise cuisine cultivar cultivate debut decade diet discovered distribution domesticate eat edible
    endangered endemic evolve export extinct factory family famous farmland feed flavor flavour flight flock food
    forage forest founded friendly garden genus grassland habitat harvest heritage hibernate historic historical
    history horsepower hunt incubate inhabit insect intelligence intelligent introduce invertebrate island kilometer
    kilometre lake larvae launch loyal luxury mammal manufacture manufacturer market marsh mate meadow migrate
    migration migratory military monogamous mountain native nectar nest nocturnal ocean orchard originate passenger
    payload performance pest playful pollinate pond popular population predator prey price produce production
    reliability reliable replace reproduce reputation resident river roost season shoreline shrubland sing social
    sold solitary song species speed squadron subfamily subspecies summer swamp sweet taste taxonomy technology
    temperament territory threatened torque train tropical tundra urban vocal vocalization warfare wetland wildlife
    winter woodland world worldwide
"""


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_COLOURED: Final = _listed(_COLOURS)
VISIBLE: Final = _COLOURED | _listed(_PATTERNS + _SHAPES + _SIZES + _SURFACES + _ANIMALS + _PLANTS + _MACHINES)
"""Words for what can be seen, without endings."""
UNSEEN: Final = _listed(_UNSEEN)
"""Words for habitat, range, history, behaviour, use and taxonomy, without endings."""

_WORD: Final = re.compile(r"[a-z]+")
_ENDINGS: Final = ("s", "es", "ed", "ing", "er", "est")
_OF_COLOURS: Final = ("ish", "y")
"""Endings that only colours take, as in reddish and coppery; elsewhere they make other words: finish, party."""
_SHORTEST_STEM: Final = 3


def plain_words(text: str) -> list[str]:
    """Divide a text into words of the letters a to z, without case, accents and hyphens.

    >>> plain_words("A rufous-brown, Café-like cap.")
    ['a', 'rufous', 'brown', 'cafe', 'like', 'cap']
    """
    folded = unicodedata.normalize("NFKD", text).casefold()
    return _WORD.findall("".join(letter for letter in folded if not unicodedata.combining(letter)))


def visible_words(words: Sequence[str]) -> set[str]:
    """Return the different words for what can be seen, without their endings.

    >>> sorted(visible_words(["reddish", "spots", "spotted", "finish", "nests"]))
    ['red', 'spot']
    """
    stems = {_stem(word, VISIBLE, _ENDINGS) or _stem(word, _COLOURED, _OF_COLOURS) for word in words}
    return stems - {""}


def unseen_words(words: Sequence[str]) -> set[str]:
    """Return the different words for what cannot be seen, without their endings."""
    return {_stem(word, UNSEEN, _ENDINGS) for word in words} - {""}


def _stem(word: str, listed: frozenset[str], endings: Sequence[str]) -> str:
    """Return the listed word that a word is, as it stands or with one of the endings; empty if there is none."""
    if word in listed:
        return word
    for ending in endings:
        stem = word.removesuffix(ending)
        if len(stem) == len(word) or len(stem) < _SHORTEST_STEM:
            continue
        forms = [stem]
        if ending not in ("s", "es"):  # spotted, curved
            forms += [stem[:-1]] if stem[-1] == stem[-2] else [f"{stem}e"]
        for form in forms:
            if form in listed:
                return form
    return ""
