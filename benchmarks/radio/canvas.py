"""Lines and words in a terminal: dots of Braille for what lies between, letters for what has a name.

The rule: words win over dots, and of two lines through one character the one drawn later gives the colour.
"""

from __future__ import annotations

from typing import Final

from rich.text import Text

BRAILLE: Final = 0x2800
DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""By row and column within a character."""


class Canvas:
    """So many characters; coordinates of lines are in dots, two a character across and four down."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns: Final = columns
        self.rows: Final = rows
        self._dots: Final = [[0] * columns for _ in range(rows)]
        self._letters: Final = [[""] * columns for _ in range(rows)]
        self._styles: Final = [[""] * columns for _ in range(rows)]

    def line(self, start: tuple[int, int], end: tuple[int, int], style: str, *, every: int = 1) -> None:
        """From dot to dot; ``every`` leaves dots out for lines that are to look thin."""
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for step in range(0, steps + 1, every):
            x = start[0] + (end[0] - start[0]) * step // steps
            y = start[1] + (end[1] - start[1]) * step // steps
            column, row = x // 2, y // 4
            if 0 <= column < self.columns and 0 <= row < self.rows:
                self._dots[row][column] |= DOTS[y % 4][x % 2]
                self._styles[row][column] = style

    def has_room(self, column: int, row: int, length: int) -> bool:
        """Whether no word stands there."""
        within = 0 <= row < self.rows and column >= 0 and column + length <= self.columns
        return within and not any(self._letters[row][column : column + length])

    def word(self, column: int, row: int, words: str, style: str) -> None:
        for place, letter in enumerate(words, column):
            if 0 <= place < self.columns and 0 <= row < self.rows:
                self._letters[row][place] = letter
                self._styles[row][place] = style

    def __rich__(self) -> Text:
        drawn = Text(no_wrap=True)
        for row in range(self.rows):
            for column in range(self.columns):
                dots = self._dots[row][column]
                drawn.append(self._letters[row][column] or (chr(BRAILLE | dots) if dots else " "), self._styles[row][column])
            drawn.append("\n")
        drawn.right_crop(1)
        return drawn
