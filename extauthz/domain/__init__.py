"""The words of the project as frozen, slotted dataclasses; standard library only."""
