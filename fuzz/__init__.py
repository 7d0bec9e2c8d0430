"""Broken files by the thousand: each must be read, or refused in one sentence, in bounded time and memory."""
