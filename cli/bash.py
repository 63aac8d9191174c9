"""Completion in bash, where a REF is one word.

Bash itself splits words at colons, so `animals:b` reaches a completion function as three words, and what the function
answers takes the place of the last of them only.

Threading: the main thread.

Source: bash(1), "Programmable Completion" and COMP_WORDBREAKS.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from click.shell_completion import BashComplete, add_completion_class, split_arg_string

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_SOURCE = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="${COMP_WORDS[COMP_CWORD]}" \\
        COMP_WORDBREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class ColonBashComplete(BashComplete):
    """Completes words that have colons in them. Used once, by the main thread."""

    source_template: ClassVar[str] = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is being typed, without the program's, and that one."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        self._kept = _count_kept(incomplete)
        return words, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return an answer without what bash leaves as it is."""
        return f"{item.type},{item.value[self._kept :] if item.type == 'plain' else item.value}"


def register() -> None:
    """Let click complete for bash in this way."""
    add_completion_class(ColonBashComplete)


def _count_kept(incomplete: str) -> int:
    """Return how many characters of the word that is being typed bash takes for words before it."""
    is_quoted = os.environ.get("COMP_WORD", "").startswith(("'", '"'))
    if is_quoted or ":" not in os.environ.get("COMP_WORDBREAKS", ""):
        return 0
    return incomplete.rfind(":") + 1
