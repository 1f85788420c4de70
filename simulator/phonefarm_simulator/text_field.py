"""A text field: its content and its cursor, moved as Android moves them."""

from dataclasses import dataclass

MAX_CHARACTERS = 4000


@dataclass(kw_only=True)
class TextField:
    """The text of a field and its cursor."""

    text: str = ""
    cursor: int = 0

    def put(self, text: str) -> None:
        """Replace everything; the cursor goes to the end."""
        self.text = text
        self.cursor = len(text)

    def insert(self, text: str) -> None:
        """Insert *text* at the cursor; the field holds at most 4000 characters."""
        text = text[: MAX_CHARACTERS - len(self.text)]
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    def delete_before(self) -> None:
        """Do what KEYCODE_DEL does."""
        if self.cursor:
            self.text = self.text[: self.cursor - 1] + self.text[self.cursor :]
            self.cursor -= 1

    def delete_after(self) -> None:
        """Do what KEYCODE_FORWARD_DEL does."""
        self.text = self.text[: self.cursor] + self.text[self.cursor + 1 :]

    def move(self, by: int) -> None:
        """Move the cursor by so many characters, staying inside."""
        self.cursor = min(len(self.text), max(0, self.cursor + by))

    def move_near(self, share: float) -> None:
        """Put the cursor where a finger touched: `share` of a field that holds 36 characters."""
        self.cursor = min(len(self.text), max(0, round(share * 36)))
