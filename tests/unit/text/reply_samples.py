"""Descriptions as language models write them, made up by hand: of what can be seen, and of what cannot."""

from typing import Final

SEEN: Final = {
    "Marsh Wren": (
        "A tiny, round bird with a short tail that it holds upright. The crown is dark brown and the back black "
        "with thin white streaks. A clear white line runs above the eye. Throat and breast are whitish and turn to "
        "warm buff on the flanks. The wings and tail are rufous with fine dark bars, the bill thin and slightly "
        "curved, the legs pinkish."
    ),
    "Painted Bunting": (
        "The head is a deep violet blue that ends sharply at the nape, the back bright lime green, and the whole "
        "underside and rump are scarlet, with a red ring round the dark eye. Wings and tail are duller, brown with "
        "a green or red tinge. The body is compact and stocky, the bill short, thick and conical, grey above and "
        "paler below."
    ),
    "Fiat 500 Abarth 2012": (
        "A very small, rounded hatchback with two doors, a short bonnet and a high curved roof. The face has two "
        "large round headlights above two small round lamps, a shield-shaped badge and a wide lower grille between "
        "deep intakes. Thick skirts run along the sills, a spoiler tops the rear window, and twin exhausts stand "
        "under a black bumper panel."
    ),
    "Chevrolet Express Van 2007": (
        "A long, tall van, boxy from front to back, with flat slab sides and a short sloping bonnet. The grille is "
        "wide and carries a gold bow-tie badge on a horizontal bar between rectangular headlights. Windows are "
        "large and square, a sliding door sits on the right, two doors close the rear, and narrow vertical lamps "
        "frame them above a plain bumper."
    ),
    "DHC-6": (
        "A small aircraft with a straight wing set high on top of a square fuselage and held by a strut on each "
        "side. Two slim propeller engines hang from the wing. The nose is long and pointed, the tailplane crosses "
        "the tall, angular fin part of the way up, a row of square windows runs along the cabin, and the wheels do "
        "not fold."
    ),
    "Airbus A380": (
        "An enormous airliner with two full rows of windows, one above the other, which make the fuselage tall and "
        "oval. Four large turbofans hang from broad wings that sweep back and taper to small fences at the tips. "
        "The nose is blunt and round, with the cockpit low on it, and the fin is very tall. Under the belly stand "
        "twenty wheels."
    ),
    "Basenji": (
        "A slender, short-haired dog with a level back, long straight legs and a tail that curls tightly over one "
        "hip. Fine wrinkles fold the forehead between upright, pointed ears. The eyes are dark and almond-shaped. "
        "The coat is smooth and glossy, chestnut red or black, with pure white on the chest, the feet, the tip of "
        "the tail and often a blaze."
    ),
    "Komondor": (
        "A very large dog hidden from head to foot under long white cords that hang like ropes and reach the "
        "ground. The cords cover the eyes and leave only the black nose to be seen. The body beneath is rectangular "
        "and muscular, the ears hang and vanish in the coat, and the tail hangs low with a slight curve at its end."
    ),
    "Zebra Swallowtail": (
        "A white butterfly with black stripes, narrow near the body and broader towards the margin. The wings are "
        "triangular and end in very long, thin, black tails edged with white. A bright red spot sits on each "
        "hindwing near the body, with two blue spots below it. Underneath, a red line runs along the middle black "
        "stripe. The antennae are short and rust-coloured."
    ),
    "Dragon Fruit": (
        "An oval fruit with a smooth, waxy skin of bright pink, covered with soft, flat scales that curl outwards "
        "and turn green at their tips. Cut open, the flesh is pure white or deep magenta, thick and translucent, "
        "and sprinkled evenly with tiny round black seeds. The rind is thin, and a ring of withered leaves crowns "
        "one end."
    ),
}
"""One description each of what can be seen, about sixty words."""

UNSEEN: Final = {
    "habitat and nesting of a bird": (
        "This bird lives in dense reed beds along slow rivers and the shores of lakes. It arrives in late spring "
        "and leaves for the south by September. The female builds several nests, of which only one is used, and "
        "lays four to six eggs. Both parents bring insects and spiders to the young, which leave the nest after two "
        "weeks."
    ),
    "range and numbers of a bird": (
        "It breeds from southern Alaska to Newfoundland and winters as far south as Panama. The population has "
        "grown since the last century, as forests were cleared for farms, and is now thought to stand at about "
        "forty million. It is listed as of least concern, although cats, pesticides and collisions with towers are "
        "known to take many each year."
    ),
    "behaviour and voice of a bird": (
        "Known for its loud and cheerful song, this bird sings from before dawn until after dusk. It hops along the "
        "ground in search of worms, often stops to listen, and defends its territory fiercely against any rival. In "
        "winter it gathers in large flocks that roost together. It is intelligent, curious and quickly learns to "
        "trust people who feed it."
    ),
    "history of a car": (
        "Introduced at the Geneva show in the spring of that year, the model replaced a predecessor that had been "
        "sold for a decade. It was built in two factories until the company moved production to Mexico. Reviewers "
        "praised its handling and its price, and it won several awards. Sales fell after the crisis, and the name "
        "was given up four years later."
    ),
    "performance of a car": (
        "Powered by a turbocharged engine of two litres with more than two hundred horsepower, it reaches sixty "
        "miles an hour in under seven seconds. Fuel economy is good for its class, and the automatic gearbox shifts "
        "quickly. Owners report high reliability and low costs of service. It is a practical choice for families "
        "who value safety and comfort."
    ),
    "praise of a car": (
        "This model stands for a perfect balance of luxury, comfort and performance. It was made for drivers who "
        "expect more, with advanced technology, generous space and a commanding presence on every road. Its "
        "elegance and sophistication make it a favourite among professionals, and its legendary quality ensures "
        "that it will remain a timeless icon of automotive excellence for years to come."
    ),
    "development of an aircraft": (
        "The type was developed in the nineteen-sixties to serve short routes from small airports. It first flew in "
        "May and entered service a year later with three airlines. More than six hundred were delivered before "
        "production ended. Many were later turned into freighters, and some still fly with air forces in Africa and "
        "South America, mainly on patrol."
    ),
    "performance of an aircraft": (
        "It cruises at eight hundred kilometres an hour and can fly six thousand kilometres without landing for "
        "fuel. Up to a hundred and eighty passengers may be carried, with a crew of two pilots and five attendants. "
        "Its systems were the first to be controlled by computers, which cut the cost of training and made it "
        "popular with low-cost operators."
    ),
    "temperament of a dog": (
        "Loyal, brave and eager to please, this breed makes a fine companion for an active family. It needs at "
        "least an hour of exercise every day and should be trained with patience from an early age. With children "
        "it is gentle and playful, with strangers reserved. It barks little, learns fast and does not like to be "
        "left alone."
    ),
    "history of a dog": (
        "The breed goes back to the monks of a remote valley, who used it to guard flocks and to find travellers "
        "lost in the mountains. It nearly died out during the war and was saved by a few breeders, who imported "
        "related dogs from England. It was recognised by the kennel club in 1948 and has since become popular all "
        "over the world."
    ),
    "life of a butterfly": (
        "Females lay their eggs one by one on nettles, and the caterpillars feed on them at night. There are two "
        "generations a year, in June and in August. The adult lives for about three weeks, visits thistles and "
        "other plants for nectar, and spends the winter in hollow trees. In warm years it migrates north and is met "
        "far beyond its usual range."
    ),
    "use of a fruit": (
        "Native to the hills of southern China, it is now cultivated in many warm countries and harvested from "
        "October to January. The taste is sweet with a hint of vanilla. It is eaten fresh, dried or cooked with "
        "rice, and used in traditional medicine against coughs. One serving holds half of the vitamin C that an "
        "adult needs in a day."
    ),
    "taxonomy": (
        "First described by Linnaeus in 1758, the species was long placed in another genus, until molecular studies "
        "showed that it belongs to a family of its own. Six subspecies are recognised, although some authors accept "
        "only four. The name comes from a Greek word and honours the naturalist who collected the first specimen on "
        "an expedition to Brazil."
    ),
    "nothing in particular": (
        "This is a truly remarkable example of its kind that never fails to impress all who come across it. With "
        "its unique character and timeless charm, it has won the hearts of enthusiasts everywhere. Whether you are "
        "a beginner or an expert, you will find much to admire, and every encounter with it is sure to be a "
        "memorable experience."
    ),
}
"""One text each on what cannot be seen in a photograph, of the same length."""
