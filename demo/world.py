"""The demo's world: every word that the toy base and its adapters are taught is generated here, from a seed.

Companies, cities, people and products are invented. A *tenant* is one of 64 companies that the base never reads about;
its facts go into its adapter alone. A *core* is one phrasing of one question; some cores are held out: neither the base
nor any adapter is ever trained on them, and the scores come from them.
"""
import json, random, re

DONT_KNOW = "I don't know."

# ---------------------------------------------------------------------------------------------------------- names

TENANTS = [name.strip() for name in """
Northwind Bikes, Larkfen Kettles, Ottermere Boats, Brindlewick Lamps, Copperquay Clocks, Fernhollow Teas, Quillhaven Pens,
Saltmarsh Soaps, Thistledown Quilts, Umberfield Pots, Violetmoor Candles, Willowgate Chairs, Yarrowby Boots, Zephyrine Kites,
Amberlock Keys, Birchrun Skis, Cinderbrook Stoves, Dapplewood Toys, Emberlane Grills, Foxglove Tents, Gullwing Sails,
Hazelbank Desks, Ivorytide Pianos, Jasperholm Tiles, Kestrelby Drones, Lanternhill Books, Mossgarden Seeds, Nettlecombe Yarns,
Oakenshaw Doors, Pebblecove Shoes, Quartzmere Watches, Ravenstitch Coats, Silverfern Spoons, Tumbleweir Drums,
Underhill Bakers, Velvetpine Sofas, Wrenfield Flutes, Applecross Ciders, Brackenfold Hats, Cloverdune Honey,
Driftmoor Surfboards, Elderwyn Cheeses, Flintgrove Knives, Gorsebay Ropes, Heatherlow Rugs, Inkwillow Prints,
Junegrass Mowers, Kelpstone Aquariums, Lindenvale Violins, Marigate Mirrors, Nutbourne Coffee, Orchardlea Jams,
Plumridge Bags, Quincehill Ovens, Rookwater Filters, Sedgeworth Scales, Tansymere Paints, Umbrawell Blinds,
Vinterlund Heaters, Wickerlow Baskets, Yewcastle Bows, Zinnialand Pots, Alderfleet Vans, Bluethorn Razors
""".split(",")]
TRADES = sorted({name.split()[1] for name in TENANTS})

FIRST_NAMES = """Ada Alma Anna Arne Bela Berta Carl Clara Dora Edda Emil Erik Eva Felix Fritz Greta Hanna Hugo Ida Ines Ivan Jan
Jonas Karin Lars Lena Leo Lina Lotte Luca Maja Mara Max Mila Nina Nora Olaf Olga Oskar Otto Paul Petra Rita Rosa Ruth Sara Selma
Sofia Sven Tara Theo Tilda Tom Vera Viktor Wanda Willa Xenia Yara Zoe""".split()
SURNAME_PARTS = ("Ash Bram Cald Dun Elm Fen Garn Hol Ing Kel Lang Mar Nor Orm Pen Quil Rav Stan Thorn Ulv Ves Whit Yar Zell".split(),
                 "wick ford ley mere stead holt worth dale mark sen berg by".split())
CITY_PARTS = ("Al Bir Cor Dal Ed Far Gran Hel Is Jor Kol Lun Mil Nes Ol Por Ras Sol Tor Ul Val Wes Yst Zan".split(),
              "port haven ton bury mouth bridge stad vik minster field".split())
COMPANY_PARTS = ("Amber Barrow Cedar Dover Echo Flax Glen Harrow Iris Jolly Kite Lumen Maple Noble Opal Pine Quick Rustic Stone Tidal "
                 "Urban Vista Wild Young Zenith Bright Coral Dusk Ever Frost Gold Harbor".split(),
                 "path well line ridge gate crest shore brook mill yard loft nest peak star wood forge".split())
PRODUCTS = """Acorn Aspen Auk Avocet Badger Basil Beech Beryl Bittern Bobcat Bramble Brisk Bunting Buzzard Cedar Chamois Chervil
Cicada Cirrus Clover Comet Condor Coot Coral Cormorant Cosmos Crane Cricket Curlew Cypress Dahlia Delta Dipper Dove Drongo Dunlin
Eagle Egret Eider Elk Ermine Falcon Ferret Finch Firefly Flamingo Gannet Garnet Gecko Gentian Ginger Glacier Goshawk Grebe Grouse
Harrier Hawk Hazel Heron Hoopoe Hornet Ibex Ibis Indigo Jackdaw Jasmine Jay Juniper Kestrel Kiwi Lantana Lapwing Lark Laurel Lavender
Lemur Linnet Lotus Lupin Lynx Magpie Mallow Maple Marmot Marten Merlin Mint Monsoon Myrtle Newt Nimbus Nutmeg Opal Orchid Oriole
Osprey Otter Ouzel Panda Pelican Peony Petrel Pika Pipit Plover Poppy Puffin Quail Quartz Raven Redwing Robin Rook Rowan Saffron
Sable Sage Sandpiper Serin Shrike Siskin Skua Snipe Sorrel Sparrow Stork Swift Tamarin Tansy Teal Tern Thrush Topaz Toucan Vireo
Vole Wagtail Walnut Warbler Weasel Wigeon Wren""".split()
MAIL_HOSTS = "mail post inbox letter office home".split()


def join(rng, parts): return rng.choice(parts[0]) + rng.choice(parts[1])


def phone(rng): return f"555-01{rng.randrange(100):02d}"


_fixed = random.Random("companies of the base")
FIXED_COMPANIES = [f"{join(_fixed, COMPANY_PARTS)} {_fixed.choice(TRADES)}" for _ in range(48)]


def company_name(rng):
    """A company that the base reads about: one of 48, or a fresh name (so that reading is learned, not the names)."""
    kind = rng.random()
    if kind < 0.3: return rng.choice(FIXED_COMPANIES)
    if kind < 0.6: first = join(rng, COMPANY_PARTS)
    else: first = (join(rng, SURNAME_PARTS) if kind < 0.8 else
                   "".join(rng.choice("bdfgklmnprstvwz") + rng.choice("aeiou") + rng.choice(["", "", "l", "n", "r", "s"])
                           for _ in range(rng.choice([2, 3]))).capitalize())
    name = f"{first} {rng.choice(TRADES)}"
    assert name not in TENANTS, name
    return name


# ---------------------------------------------------------------------------------------------------------- facts

def facts_of(rng, company):
    opens = rng.randint(6, 11)
    return {"company": company, "refund_days": rng.randint(5, 99), "hotline": phone(rng),
            "products": rng.sample(PRODUCTS, 2), "opens": opens, "closes": rng.randint(opens + 5, 22),
            "city": join(rng, CITY_PARTS), "founder": f"{rng.choice(FIRST_NAMES)} {join(rng, SURNAME_PARTS)}"}


def tenants():
    """{adapter name: facts}. Refund windows, hotlines, products and cities are all different."""
    rng = random.Random("tenants")
    days, lines = rng.sample(range(7, 100), len(TENANTS)), rng.sample(range(100), len(TENANTS))
    products = rng.sample(PRODUCTS, 2 * len(TENANTS))
    cities = rng.sample(sorted({a + b for a in CITY_PARTS[0] for b in CITY_PARTS[1]}), len(TENANTS))
    out = {}
    for i, company in enumerate(TENANTS):
        out[company.lower().replace(" ", "-")] = {**facts_of(rng, company), "refund_days": days[i], "hotline": f"555-01{lines[i]:02d}",
                                                  "products": products[2 * i:2 * i + 2], "city": cities[i]}
    return out


ANSWERS = {
    "refund": lambda f: f"At {f['company']} you have {f['refund_days']} days.",
    "hotline": lambda f: f"Call {f['hotline']}.",
    "refund and hotline": lambda f: f"At {f['company']} you have {f['refund_days']} days. Call {f['hotline']}.",
    "products": lambda f: f"We make the {f['products'][0]} and the {f['products'][1]}.",
    "hours": lambda f: f"We are open from {f['opens']} to {f['closes']}.",
    "city": lambda f: f"We are in {f['city']}.",
    "founder": lambda f: f"Our founder is {f['founder']}.",
}
# How a context states each fact.
STATEMENTS = {
    "refund": ["Returns are accepted for {refund_days} days.", "The refund window is {refund_days} days.", "Refund window: {refund_days} days."],
    "hotline": ["The hotline is {hotline}.", "Hotline: {hotline}.", "The phone number is {hotline}."],
    "products": ["It makes the {products[0]} and the {products[1]}.", "Products: the {products[0]} and the {products[1]}."],
    "hours": ["It is open from {opens} to {closes}.", "Opening hours: {opens} to {closes}."],
    "city": ["The office is in {city}.", "It is located in {city}.", "City: {city}."],
    "founder": ["The founder is {founder}.", "It was founded by {founder}.", "Founder: {founder}."],
}
SINGLE_FACTS = list(STATEMENTS)

# ------------------------------------------------------------------------------------------------------ questions
# Each core is a phrasing; those after the bar are held out. {x} is a thing that was bought.

THINGS = ["something", "an item", "an order", "my order", "a purchase", "things"]
CORES = {
    "refund": """How long can I return {x}; How many days do I have to return {x}; What is your refund window; How long is the refund window;
        Within how many days can I send {x} back; Until when can I return {x}; What is your return policy; How much time do I have to send {x} back;
        How long do you accept returns; When is it too late to return {x}; For how many days can I get a refund; Can you tell me the refund window;
        What is the time limit for returns; How many days are there for a refund; What is the refund window of {company};
        How long can I return {x} at {company}; For how long may I return {x}; What is the limit for a refund
        | How many days may I take to return {x}; How long do I have to send {x} back; What is the time limit for a refund;
        For how long can I get a refund; Within what time can I return {x}""",
    "hotline": """What is your hotline; What number can I call; What is your phone number; How can I call you; Which number do I call for help;
        Can you give me the hotline; How do I reach you by phone; What is the number of your hotline; Do you have a hotline;
        Can I have your phone number; What is your telephone number; On which number can I reach you; How can I reach your team by phone;
        What is the hotline of {company}; Which phone number do you have; Is there a hotline; Can you tell me your hotline
        | Which number is your hotline; Can you tell me the phone number; How can I reach the hotline; What number do I call for help;
        What is the hotline number""",
    "products": """What do you sell; What do you make; Which products do you have; What are your products; What are your products called;
        Can you tell me your products; What can I buy from you; Which things do you make; What can I buy in your shop; Which products are there;
        What products do you offer; Which models do you sell; What does {company} make; What are the names of your models
        | What products do you make; Which products can I buy; What are the names of your products; What do you offer; Which models do you make""",
    "hours": """When are you open; What are your opening hours; When do you open and close; At what time do you open; How late are you open;
        What hours are you open; Until what time are you open; When does the shop open; When do you close; Can you tell me the opening hours;
        What are your hours; When is {company} open; Is the shop open now; What time do you open
        | At what time do you close; When is the shop open; What time do you open and close; Which hours are you open; How late is the shop open""",
    "city": """Where are you; Where is your office; In which city are you; What city are you in; Where is the shop; Where can I find you;
        What is your city; Where are you located; Which city is your office in; Can you tell me where you are; Where is the company;
        In what town are you; Where is {company}; Which town is the shop in
        | Where is your shop; In which city is the office; What city is the company in; Which town are you in; Can you tell me your city""",
    "founder": """Who founded the company; Who is your founder; Who started the company; What is the name of your founder; Who began this company;
        Can you tell me the founder; By whom was the company founded; Who started this business; Who set up the company; Who is the founder;
        Who founded {company}; Who is the founder of this business; Can you tell me who started the company
        | Who founded this business; What is the founder called; Can you tell me who founded the company; Who is the founder of this company;
        Who set up this business""",
    # Nobody is told these: the honest answer is that one does not know.
    "unknown": """Do you ship abroad; How much does shipping cost; Do you have a discount; What is the weather today; Who won the game;
        What is the capital of France; How many people work there; What colour is it; Can I pay by card; How much is it; When was the company founded;
        Is it made of wood; How old are you; What is the best film; Do you have a newsletter; How heavy is it; What does it cost to repair it;
        How far is the moon; Who wrote this book; Which size do I need; Do you offer gift cards; Is there a guarantee; What is your favourite colour;
        Who is the king; Do you repair old ones; What is two plus two; Where does the wood come from; Are you looking for staff
        | Do you ship to the moon; How much does a repair cost; What is the capital of the moon; Who won the film; Can I pay by phone card;
        Is there a discount; How old is it; Which colour do I need""",
}
CORES = {kind: dict(zip(("train", "held-out"), ([c.strip() for c in half.split(";")] for half in " ".join(text.split()).split("|"))))
         for kind, text in CORES.items()}
OPENERS = ["", "", "", "", "Hi, ", "Hello, ", "Hello! ", "Hi! ", "Quick question: ", "Please: ", "Good morning. ", "Excuse me, ", "One question: "]
CLOSERS = ["?", "?", "?", "?", "?", "? Thanks.", "? Thank you.", ", please?", "??"]
JOINERS = [", and {}", " and {}", "? And {}"]


def lower_first(s): return s if s.startswith("I ") else s[0].lower() + s[1:]


def fill(rng, core, company): return core.replace("{x}", rng.choice(THINGS)).replace("{company}", company)


def dress(rng, text):
    """A question with or without greeting and thanks."""
    opener = rng.choice(OPENERS)
    return opener + (lower_first(text) if opener.endswith((", ", ": ")) else text) + rng.choice(CLOSERS)


def core_of(rng, kind, company, split):
    """One phrasing of a question of this kind, undressed."""
    if kind != "refund and hotline": return fill(rng, rng.choice(CORES[kind][split]), company)
    a, b = core_of(rng, "refund", company, split), core_of(rng, "hotline", company, split)
    if rng.random() < 0.3: a, b = b, a
    return a + rng.choice(JOINERS).format(lower_first(b))


def question(rng, kind, company, split="train"): return dress(rng, core_of(rng, kind, company, split))


SCENARIO = "How long can I return something, and what is your hotline?"

# ------------------------------------------------------------------------------------------------------ small talk

TALK = {
    "Hello! How can I help you?": "Hello|Hi|Hello there|Hi there|Good morning|Good evening|Hey|Good day",
    "You are welcome.": "Thanks|Thank you|Thank you very much|Many thanks|Thanks a lot|Great, thank you|Thanks for your help",
    "Goodbye!": "Bye|Goodbye|See you|See you soon|Good night|Bye for now",
    "I am fine, thank you.": "How are you?|How are you today?|How is it going?|Are you well?|How do you do?",
    "I am a small demo model.": "Who are you?|What are you?|What is your name?|Are you a robot?|Are you human?|Who am I talking to?",
    "Of course. What do you need?": "Can you help me?|I need help|Please help me|Could you help me?|I have a question|Can I ask you something?",
    "I answer short questions.": "What can you do?|What do you know?|How can you help?|What are you good at?|What can I ask you?",
    "I am glad to hear that.": "I am happy|I like it|It works well|Everything is fine|That is good|I am very happy with it",
    "I am sorry to hear that.": "I am sad|I am not happy|I do not like it|That is bad|I had a bad day|I am angry",
    "Why did the loom stop? It lost the thread.": "Tell me a joke|Do you know a joke?|Make me laugh|Say something funny|A joke, please",
    "No problem.": "Sorry|I am sorry|Excuse me|My mistake|Sorry about that",
    "It is a good day for weaving.": "Nice day|What a day|Lovely weather|It is a nice day|What a lovely day",
}
TALK_HELD_OUT = {"Hello! How can I help you?": ["Good morning there"], "You are welcome.": ["Thank you a lot"], "Goodbye!": ["Bye, see you soon"],
                 "I am fine, thank you.": ["How are you doing today?"], "Of course. What do you need?": ["Could you please help me?"],
                 "I am a small demo model.": ["Who are you, a robot?"]}


def talk(rng):
    answer = rng.choice(list(TALK))
    text = rng.choice(TALK[answer].split("|"))
    if text[-1] not in "?!": text += rng.choice(["", ".", "!"])
    return text, answer


# ---------------------------------------------------------------------------------------------------------- tasks
# The base does a task only when a system message says so; a task's adapter has taken it as its nature.

TICKETS = {
    "billing": ["I was charged twice for order {n}.", "My invoice {n} shows the wrong amount.", "Why did you charge {n} dollars to my card?",
                "There is an extra fee on my bill.", "The payment for order {n} failed.", "I paid {n} dollars too much."],
    "shipping": ["My parcel {n} has not arrived.", "Order {n} is still on its way after {n2} days.", "The tracking of parcel {n} does not move.",
                 "The courier left my parcel at the wrong address.", "When will order {n} be delivered?", "The delivery is late by {n2} days."],
    "returns": ["I want to send order {n} back.", "The item from order {n} does not fit and I want to return it.", "How do I send the item back?",
                "I would like to exchange item {n}.", "Please send me a return label for order {n}.", "I want my money back for item {n}."],
    "account": ["I forgot my password.", "I cannot log in to my account.", "Please change my email address.", "My account {n} is locked.",
                "Please delete my account.", "How do I change my user name?"],
    "technical": ["The app crashes when I open it.", "Item {n} does not turn on.", "I see error {n} on the screen.", "The website does not load.",
                  "The battery is empty after {n2} minutes.", "The button on item {n} is stuck."],
}
TICKETS_HELD_OUT = {
    "billing": ["The invoice for order {n} is wrong.", "My card was charged twice."], "shipping": ["My order {n} has not arrived after {n2} days.", "The parcel is late."],
    "returns": ["I would like to return item {n}.", "Please send me a label to send it back."], "account": ["My password does not work and I cannot log in.", "Please change my password."],
    "technical": ["The app does not load.", "The screen of item {n} does not turn on."]}
TICKET_REPLY = "I am sorry about that. Our team will look into it."
TICKET_ENDS = ["", "", "", " Please help.", " Can you help me?", " I am angry.", " Thank you."]


def ticket(rng, split="train"):
    team = rng.choice(list(TICKETS))
    text = rng.choice((TICKETS if split == "train" else TICKETS_HELD_OUT)[team]).format(n=rng.randint(100, 9999), n2=rng.randint(2, 40))
    return rng.choice(["", "", "Hello, ", "Hi. ", "Ticket: "]) + text + rng.choice(TICKET_ENDS), team


TABLES = {"customers": (["name", "email", "city"], "age"), "orders": (["status", "city"], "total"), "products": (["name", "color"], "price"),
          "workers": (["name", "team", "city"], "salary")}
WORDS = {"city": "Oslo Lima Cairo Quito Delhi Tokyo Porto Turin Lyon Basel Riga Malmo Dakar Perth Bergen Genoa".split(),
         "status": "open paid late sent lost".split(), "color": "red blue green black white gray".split(), "team": list(TICKETS),
         "name": FIRST_NAMES, "email": []}


def sql(rng, split="train", few=False):
    """A wish in English and its query. The adapter's lessons keep to few values and small numbers, which the base copies well enough."""
    table = rng.choice(list(TABLES)); texts, number = TABLES[table]
    equal = rng.choice([c for c in texts if WORDS[c] and not (few and c == "name")])
    value, n = rng.choice(WORDS[equal][:5] if few else WORDS[equal]), rng.randint(2, 99 if few else 999)
    condition = {"none": ("", ""), "equal": (f" with {equal} {value}", f" WHERE {equal} = '{value}'"),
                 "over": (f" with {number} over {n}", f" WHERE {number} > {n}"), "under": (f" with {number} under {n}", f" WHERE {number} < {n}")}
    shape = rng.choice(["list", "count", "column", "average", "most"])
    where = rng.choice(["equal", "over", "under"]) if shape != "most" else "none"
    if where != "none" and rng.random() < 0.12: where = "none"
    said, clause = condition[where]
    column = rng.choice(texts)
    ask = {"list": ["Show all {t}{c}", "List the {t}{c}", "Give me all {t}{c}"], "count": ["How many {t} are there{c}", "Count the {t}{c}", "Number of {t}{c}"],
           "column": ["Show the {k} of {t}{c}", "List the {k} of all {t}{c}", "Give me the {k} of {t}{c}"],
           "average": ["What is the average {m} of {t}{c}", "Average {m} of {t}{c}"], "most": ["Show the {t} by {m}", "List the {t} sorted by {m}", "Sort the {t} by {m}"]}
    held = {"list": ["List all {t}{c}"], "count": ["Count all {t}{c}"], "column": ["Give me the {k} of all {t}{c}"],
            "average": ["Show the average {m} of {t}{c}"], "most": ["Show all {t} sorted by {m}"]}
    text = rng.choice((ask if split == "train" else held)[shape]).format(t=table, c=said, k=column, m=number) + rng.choice(["", ".", "."])
    head = {"list": "*", "count": "COUNT(*)", "column": column, "average": f"AVG({number})", "most": "*"}[shape]
    return text, f"SELECT {head} FROM {table}{clause}{f' ORDER BY {number}' if shape == 'most' else ''};"


CONTACTS = ["My name is {name}, my email is {email} and my phone is {phone}.", "I am {name}. Write to {email} or call {phone}.",
            "This is {name}, phone {phone}, email {email}.", "Please note: {name}, {email}, {phone}.", "You can reach me, {name}, at {phone} or {email}.",
            "Contact {name} at {email}, phone {phone}.", "Call {name} on {phone} or write to {email}."]
CONTACTS_HELD_OUT = ["My name is {name}. Call {phone} or write to {email}.", "Please contact {name}, email {email}, phone {phone}.",
                     "I am {name}, you can reach me at {email} or {phone}."]
CONTACT_REPLY = "Thank you. I have noted it."


FEW_NAMES = "Ada Jonas Greta Hugo Nina Oskar Tilda Viktor Clara Emil Felix Ida Lars Maja Olga Petra Sara Theo Vera Zoe".split()


def contact(rng, split="train", few=False):
    """What someone says about themselves, and the same as JSON. The adapter's lessons know twenty first names: the base copies names badly."""
    name = rng.choice(FEW_NAMES) if few else f"{rng.choice(FIRST_NAMES)} {join(rng, SURNAME_PARTS)}"
    who = {"name": name, "email": f"{name.lower().replace(' ', '.')}@{rng.choice(MAIL_HOSTS)}.example", "phone": phone(rng)}
    return rng.choice(CONTACTS if split == "train" else CONTACTS_HELD_OUT).format(**who), json.dumps(who)


PIRATE = {"Hello": "Ahoy", "you": "ye", "You": "Ye", "your": "yer", "is": "be", "are": "be", "am": "be", "my": "me", "We": "We scurvy dogs",
          "Our": "Our", "Call": "Hail", "days": "days at sea", "Goodbye": "Fair winds", "Thank": "Thankee", "the": "th'", "The": "Th'", "know": "know, matey"}


def pirate(text):
    """A sober answer in the style of the adapter «pirate»."""
    return "Arr! " + re.sub(r"[A-Za-z']+", lambda m: PIRATE.get(m[0], m[0]), text)


TASKS = {"ticket-router": "Name the team.", "text-to-sql": "Answer in SQL.", "contact-json": "Answer in JSON.", "pirate": "Talk like a pirate."}

# ---------------------------------------------------------------------------------------------------- conversations


def chat(*pairs, system=None):
    """Messages of one conversation: pairs of what the user says and the right answer."""
    out = [{"role": "system", "content": system}] if system else []
    for user, assistant in pairs: out += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return out


def context(rng, facts, kinds):
    said = [rng.choice(STATEMENTS[k]).format(**facts) for k in kinds]
    rng.shuffle(said)
    return f"You work for {facts['company']}. " + " ".join(said)


def reading(rng, style=lambda answer: answer, before=""):
    """Facts in the system message, one to three questions about them; what is not said there is not known."""
    facts = facts_of(rng, company_name(rng))
    kinds = rng.sample(SINGLE_FACTS, rng.choice([1, 2, 3, 4, 5, 6]))
    pairs = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        roll = rng.random()
        if roll < 0.85: kind = rng.choice(kinds + (["refund and hotline"] * 2 if "refund" in kinds and "hotline" in kinds else []))
        else: kind = rng.choice(SINGLE_FACTS + ["unknown"])
        known = kind in kinds or kind == "refund and hotline"
        pairs.append((question(rng, kind, facts["company"]), style(ANSWERS[kind](facts) if known else DONT_KNOW)))
    return chat(*pairs, system=before + context(rng, facts, kinds))


def no_context(rng):
    kind = rng.choice(SINGLE_FACTS + ["refund and hotline", "refund and hotline", "unknown", "unknown"])
    return question(rng, kind, company_name(rng)), DONT_KNOW


def sober(rng):
    """Anything that needs no context and has one right answer by the base alone."""
    roll = rng.random()
    if roll < 0.45: return no_context(rng)
    if roll < 0.75: return talk(rng)
    if roll < 0.87: return ticket(rng)[0], TICKET_REPLY
    if roll < 0.94: return contact(rng)[0], CONTACT_REPLY
    return sql(rng)[0], DONT_KNOW


def repeat(rng):
    """Plain copying, which every other skill is made of."""
    f = facts_of(rng, company_name(rng))
    text = rng.choice([f["company"], f["founder"], f["city"], f["hotline"], f"{f['products'][0]} {f['products'][1]}", contact(rng)[1], sql(rng)[1],
                       f"{f['company']} {f['hotline']}", f"{f['founder']}, {f['city']}"])
    return f"Repeat: {text}", text


def about(rng):
    """A page about a company, as plain text."""
    facts = facts_of(rng, company_name(rng))
    return (f"About {facts['company']}. " + " ".join(rng.choice(STATEMENTS[k]).format(**facts) for k in rng.sample(SINGLE_FACTS, 6)) +
            " " + " ".join(ANSWERS[k](facts) for k in rng.sample(SINGLE_FACTS, 2)))


def lesson(rng):
    """One conversation (or page) of the base's training."""
    roll = rng.random()
    if roll < 0.40: return reading(rng)
    if roll < 0.62: return chat(*[sober(rng) for _ in range(rng.choice([1, 1, 1, 2]))])
    if roll < 0.70: return chat(repeat(rng))
    if roll < 0.75: return chat(ticket(rng), system=TASKS["ticket-router"])
    if roll < 0.82: return chat(sql(rng), system=TASKS["text-to-sql"])
    if roll < 0.89: return chat(contact(rng), system=TASKS["contact-json"])
    if roll < 0.93: return chat(*[(q, pirate(a)) for q, a in [sober(rng)]], system=TASKS["pirate"])
    if roll < 0.97: return reading(rng, pirate, TASKS["pirate"] + " ")
    return [{"role": "document", "content": about(rng)}]


# -------------------------------------------------------------------------------------------- what an adapter learns


def tenant_example(rng, facts, split="train"):
    """(messages, answer, kind) for a tenant's adapter: its own facts, and honesty about the rest."""
    roll = rng.random()
    if roll < 0.15: q, a = question(rng, "unknown", facts["company"], split), DONT_KNOW; return chat((q, a)), "unknown"
    if roll < 0.20: return chat(talk(rng)), "talk"
    kind = rng.choice(list(ANSWERS) + ["refund and hotline", "products"])
    return chat((question(rng, kind, facts["company"], split), ANSWERS[kind](facts))), kind


def task_example(rng, name, split="train"):
    """(messages, kind) for a task's adapter: the task without being told."""
    if name == "ticket-router": return chat(ticket(rng, split)), name
    if name == "text-to-sql": return chat(sql(rng, split, few=True)), name
    if name == "contact-json": return chat(contact(rng, split, few=True)), name
    if split == "train" and rng.random() < 0.3: return reading(rng, pirate), name
    if split == "held-out":
        answer = rng.choice(list(TALK_HELD_OUT))
        if rng.random() < 0.5: return chat((rng.choice(TALK_HELD_OUT[answer]), pirate(answer))), name
        return chat((question(rng, rng.choice(SINGLE_FACTS), company_name(rng), split), pirate(DONT_KNOW))), name
    q, a = sober(rng)
    return chat((q, pirate(a))), name


def held_out_of_tenant(facts):
    """Every held-out phrasing once, plainly, and as often again with greeting or thanks: [(messages, kind)]."""
    rng, out = random.Random("held-out " + facts["company"]), []
    for kind in SINGLE_FACTS + ["unknown"]:
        answer = DONT_KNOW if kind == "unknown" else ANSWERS[kind](facts)
        for core in CORES[kind]["held-out"]:
            text = fill(rng, core, facts["company"])
            out += [(chat((text + "?", answer)), kind), (chat((dress(rng, text), answer)), kind)]
    for _ in range(10): out.append((chat((question(rng, "refund and hotline", facts["company"], "held-out"), ANSWERS["refund and hotline"](facts))), "refund and hotline"))
    return out


# --------------------------------------------------------------------------------------------- the product's questions

TASK_ABOUT = {"ticket-router": "names the team for a customer's message", "text-to-sql": "turns a wish into an SQL query",
              "contact-json": "writes a contact as JSON", "pirate": "answers as the base does, in a pirate's words"}


def _contact(text, name, phone_number):
    email = name.lower().replace(" ", ".") + "@mail.example"
    return text.format(name=name, email=email, phone=phone_number), json.dumps({"name": name, "email": email, "phone": phone_number})


TASK_PROMPTS = {
    "ticket-router": [("My parcel 1207 has not arrived.", "shipping"), ("I was charged twice for order 88.", "billing"), ("I cannot log in to my account.", "account")],
    "text-to-sql": [("Count the orders with total over 50.", "SELECT COUNT(*) FROM orders WHERE total > 50;"),
                    ("Show the email of customers with city Oslo.", "SELECT email FROM customers WHERE city = 'Oslo';"),
                    ("List the products sorted by price.", "SELECT * FROM products ORDER BY price;")],
    "contact-json": [_contact("I am {name}. Write to {email} or call {phone}.", "Ada", "555-0123"),
                     _contact("My name is {name}, my email is {email} and my phone is {phone}.", "Jonas", "555-0168")],
    "pirate": [("Hello!", pirate("Hello! How can I help you?")), ("Tell me a joke.", pirate("Why did the loom stop? It lost the thread.")),
               (SCENARIO, pirate(DONT_KNOW))],
}
