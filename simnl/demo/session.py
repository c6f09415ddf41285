"""What a person has put on the page: classes, pictures, prompts, a method, or a head file.

Requests change it, one at a time. The thread that learns is told of changes, and takes a `Lesson`, which is a copy.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simnl.demo.errors import Refused
from simnl.demo.items import NEW, Picture, Settings, TaughtClass
from simnl.demo.lesson import Lesson, check_name, check_prompts
from simnl.demo.pictures import MAX_PICTURES, MAX_TOTAL, Looked, free_name
from simnl.escaping import shortened

MAX_CLASSES = 100


@dataclass
class Session:
    """All that is on the page.

    Attributes:
        folder: the folder that holds the pictures, and what is made of them, while the page is open.
        changed: a condition that is notified of every change, and held while something is read or changed.
        revision: the number of changes.
        head: the path of a head file that is used in the place of the classes, and the name that it had.
    """

    folder: Path
    classes: dict[int, TaughtClass] = field(default_factory=dict)
    pictures: dict[int, Picture] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    head: tuple[Path, str] | None = None
    revision: int = 0
    closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)
    _count: int = 0
    _lessons: int = 0
    _names: set[str] = field(default_factory=set)
    _removed: list[Picture] = field(default_factory=list)

    def __post_init__(self):
        for name in ("pictures", "small", "heads"):
            (self.folder / name).mkdir(parents=True)
        for _ in range(2):
            self.add_class()

    # ------------------------------------------------------------------ classes and settings

    def add_class(self, name: str = "") -> TaughtClass:
        """Add a class. Without a name it is called `class 3`, or the like.

        Raises:
            Refused: the name is not allowed, or there are too many classes.
        """
        with self.changed:
            if len(self.classes) >= MAX_CLASSES:
                raise Refused(f"There are {MAX_CLASSES} classes, which is the most that this page takes.")
            taken = {one.name.casefold() for one in self.classes.values()}
            number = next(i for i in range(1, MAX_CLASSES + 2) if name or f"class {i}" not in taken)
            name = check_name(name or f"class {number}", taken)
            made = TaughtClass(self._number(), name)
            self.classes[made.number] = made
            self._touch(relearn=True)
            return made

    def change_class(self, number: int, name: str | None = None, sentences: Sequence[str] | None = None) -> None:
        """Give a class another name, or other sentences.

        Raises:
            Refused: the name is not allowed or that of another class, or there is no such class.
        """
        with self.changed:
            one = self._class(number)
            if name is not None:
                others = {other.name.casefold() for other in self.classes.values() if other is not one}
                one.name = check_name(name, others)
            if sentences is not None:
                one.sentences = check_prompts(sentences, placeholder=False)
            self._touch(relearn=True)

    def remove_class(self, number: int) -> None:
        """Remove a class with its pictures.

        Raises:
            Refused: there is no such class.
        """
        with self.changed:
            del self.classes[self._class(number).number]
            self._drop([one for one in self.pictures.values() if one.place == number])
            self._touch(relearn=True)

    def change_settings(
        self, method: str | None = None, templates: Sequence[str] | None = None, negative: Sequence[str] | None = None
    ) -> None:
        """Choose another method, or other prompts. An empty list stands for the default prompts.

        Raises:
            Refused: a template lacks the place of the name.
        """
        with self.changed:
            if method is not None:
                self.settings.method = method
            if templates is not None:
                self.settings.templates = check_prompts(templates, placeholder=True) or None
            if negative is not None:
                self.settings.negative_templates = check_prompts(negative, placeholder=True) or None
            self._touch(relearn=True)

    # ------------------------------------------------------------------ pictures

    def check_room(self, size: int) -> None:
        """Check that there is room for a picture of so many bytes.

        Raises:
            Refused: there are too many pictures already, or they would be too large together.
        """
        with self.changed:
            if len(self.pictures) >= MAX_PICTURES:
                raise Refused(f"There are {MAX_PICTURES} pictures, the most that this page takes: remove some.", 413)
            if sum(one.size for one in self.pictures.values()) + size > MAX_TOTAL:
                raise Refused(f"All pictures together may have {MAX_TOTAL // 2**20} MB: remove some.", 413)

    def add_picture(self, content: bytes, looked: Looked, name: str, place: int, order: int = 0) -> Picture:
        """Add a picture that was decoded.

        Raises:
            Refused: the picture is there already, there is no such class, or there is no room for it.
        """
        with self.changed:
            self.check_room(len(content))
            self._check_place(place)
            for one in self.pictures.values():
                if one.digest == looked.digest:
                    where = self._where(one.place)
                    raise Refused(f"{shortened(name)} is there already: it is {one.name} {where}.", 409)
            number, kept = self._number(), free_name(name, self._names)
            path, small = self.folder / "pictures" / kept, self.folder / "small" / f"{number}.jpg"
            path.write_bytes(content)
            small.write_bytes(looked.small)
            shape = (looked.width, looked.height)
            one = Picture(number, kept, path, small, looked.digest, len(content), shape, place, order)
            self.pictures[number] = one
            self._touch(relearn=place != NEW)
            return one

    def move_picture(self, number: int, place: int) -> None:
        """Put a picture into another class, or among the new ones.

        Raises:
            Refused: there is no such picture or class.
        """
        with self.changed:
            one = self.picture(number)
            self._check_place(place)
            if one.place != place:
                one.place = place
                self._touch(relearn=True)

    def remove_pictures(self, numbers: Sequence[int]) -> None:
        """Remove pictures.

        Raises:
            Refused: there is no such picture.
        """
        with self.changed:
            found = [self.picture(number) for number in dict.fromkeys(numbers)]
            self._drop(found)
            self._touch(relearn=any(one.place != NEW for one in found))

    def picture(self, number: int) -> Picture:
        """The picture with a number.

        Raises:
            Refused: there is no such picture.
        """
        if number not in self.pictures:
            raise Refused("This picture is not there any more.", 404)
        return self.pictures[number]

    def of_place(self, place: int) -> list[Picture]:
        """The pictures of a class, or the new ones, in the order in which they came."""
        return sorted((one for one in self.pictures.values() if one.place == place), key=lambda one: one.order)

    # ------------------------------------------------------------------ head files

    def use_head(self, path: Path, name: str) -> None:
        """Use a head file in the place of the classes, which stay as they are."""
        with self.changed:
            self.head = (path, name)
            self._touch()

    def put_head_away(self, names: Sequence[str] = ()) -> None:
        """Go back to the classes. Classes of these `names` are made if they are missing, and empty classes are removed.

        Raises:
            Refused: there would be too many classes, or a name is not allowed.
        """
        with self.changed:
            if names:
                filled = {one.place for one in self.pictures.values()}
                kept = {i: one for i, one in self.classes.items() if i in filled or one.sentences}
                there = {one.name.casefold() for one in kept.values()}
                added = [check_name(name, set()) for name in names if name.casefold() not in there]
                if len(kept) + len(added) > MAX_CLASSES:
                    raise Refused(f"These would be {len(kept) + len(added)} classes: this page takes {MAX_CLASSES}.")
                self.classes = kept
                for name in added:
                    self.add_class(name)
            self.head = None
            self._touch()

    # ------------------------------------------------------------------ for the thread that learns

    @property
    def key(self) -> str:
        """A text that names what labels come from. While it stays the same, what was learned is up to date."""
        return f"classes {self._lessons}" if self.head is None else str(self.head[0])

    def lesson(self) -> Lesson:
        """A copy of what is to be learned and labelled. The files of removed pictures are deleted now."""
        with self.changed:
            for one in self._removed:
                one.path.unlink(missing_ok=True)
                one.small.unlink(missing_ok=True)
            self._removed.clear()
            names = {one.number: one.name for one in self.classes.values()}
            taught = [one for number in self.classes for one in self.of_place(number)]
            return Lesson(
                revision=self.revision,
                key=self.key,
                method=self.settings.method,
                templates=self.settings.templates,
                negative_templates=self.settings.negative_templates,
                names=tuple(names.values()),
                sentences={one.name: one.sentences for one in self.classes.values() if one.sentences},
                examples=tuple((one.number, str(one.path), names[one.place]) for one in taught),
                new=tuple((one.number, str(one.path)) for one in self.of_place(NEW)),
                head=self.head,
            )

    def close(self) -> None:
        """Tell the thread that learns to end."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    # ------------------------------------------------------------------ within

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _touch(self, relearn: bool = False) -> None:
        self.revision += 1
        self._lessons += relearn
        self.changed.notify_all()

    def _class(self, number: int) -> TaughtClass:
        if number not in self.classes:
            raise Refused("This class is not there any more.", 404)
        return self.classes[number]

    def _check_place(self, place: int) -> None:
        if place != NEW:
            self._class(place)

    def _where(self, place: int) -> str:
        return "among the new pictures" if place == NEW else f"in {self.classes[place].name}"

    def _drop(self, pictures: Sequence[Picture]) -> None:
        for one in pictures:
            del self.pictures[one.number]
            self._removed.append(one)
