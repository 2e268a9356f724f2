"""What the agent of the scripted conversation knows: the programme and the rules of an invented festival."""

from dataclasses import dataclass
from pathlib import Path

INTRODUCTION = """The Harbour Festival of Curious Things takes place from Friday the 12th to Sunday the 14th of June
in the old docks of Port Ellery. Doors open at 09:00 on Friday and Saturday and at 06:00 on Sunday. The box office is in
the customs house next to the Harbour Steps and is open from 08:30 to 20:30. The telephone number of the box
office is 0555 0142. A day pass costs 45 euros, a weekend pass 95 euros, and children under seven come in free
with an adult. A weekend pass includes every event without a materials fee, but seats must still be reserved.
The festival is reached by tram line 4, stop Customs House, and by the night bus N12 after 23:30. There is no
car park; the nearest is at Mill Street, fifteen minutes on foot. All halls but the Attic Room have a step-free
entrance. The lost property office is in the Library Stage's cloakroom. Dogs are welcome outdoors and in the Dry
Dock, but not in the Kitchen Lab."""
POLICIES = """Reservations are free of charge and are held until ten minutes before an event begins. A reservation
can be moved or cancelled until two hours before. Refunds go back to the card that paid, within five working days, and
are given for cancelled events always, and for changed minds only until 48 hours before the event. Groups of ten
or more are booked by the groups desk and not by this line. Gluten-free, vegan and nut-free versions of every
tasting exist when they are asked for at least a day before. Photographs without flash are welcome everywhere
but in the Roof Terrace's dark hour. The festival does not give medical advice; first aid is at the Garden Tent
and answers the number 0555 0199."""
ROOMS = {
    "Harbour Hall": "the former grain store, with four hundred seats and an induction loop",
    "Kitchen Lab": "a teaching kitchen with twelve stoves, two visitors to each, where aprons are lent",
    "Attic Room": "a studio under the roof that is reached by forty-two stairs and has no lift",
    "Dry Dock": "an open dock under a glass roof, which is heated but windy",
    "Library Stage": "the reading room of the seamen's library, with sixty chairs and good light",
    "Workshop One": "a bright workshop with sixteen benches, meant for children and beginners",
    "Workshop Two": "a workshop with twenty places, a sink at each bench and dust extraction",
    "Garden Tent": "a tent in the customs garden with forty folding chairs and a wooden floor",
    "Roof Terrace": "a terrace over the customs house that is reached by a lift and closes in strong wind",
    "Harbour Steps": "the broad steps down to the water, without seats and without shelter",
}


@dataclass(frozen=True, slots=True)
class Event:
    title: str
    speaker: str
    day: str
    time: str
    room: str
    price: str
    seats: str
    about: str

    def text(self) -> str:
        price = "There is no fee" if self.price == "free" else f"The fee is {self.price} euros for each person"
        return (
            f"{self.title}. On {self.day} at {self.time}, {self.speaker} is in the {self.room}, {ROOMS[self.room]}. "
            f"{self.about} {price}, and there are {self.seats} places. An event lasts about an hour; latecomers are "
            f"let in at the first pause. Whoever wants to come to {self.title} reserves with the event's title, the "
            f"name of the visitor and the number of places, at most six at a time. If all {self.seats} places are "
            f"taken, names are put on a waiting list that the box office calls in its order from an hour before "
            f"{self.time} on. {self.speaker} answers questions afterwards at the long table outside the {self.room}, "
            f"where books and recordings can be bought and signed. Interpreters for sign language and headsets with a "
            f"translation can be asked for at the box office until the evening before {self.day}. Should the event "
            f"have to move to another room, a helper in a yellow jacket waits at the door of the {self.room}, and a "
            f"message is sent to every telephone number that was left with a reservation."
        )


def events() -> list[Event]:
    lines = Path(__file__).with_name("festival.txt").read_text().splitlines()
    return [Event(*line.split("|")) for line in lines]


def knowledge(most_events: int | None = None) -> str:
    """All of it, about 12,000 tokens; with `most_events` only so much of the programme."""
    programme = [event.text() for event in events()[:most_events]]
    return "\n\n".join([INTRODUCTION, POLICIES, *programme])
