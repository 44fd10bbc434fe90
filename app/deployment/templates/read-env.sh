if [ -d .change ]; then
    printf '%s\n' "$(pwd): a change of its files was cut short; python -m scripts.federation verify $(pwd) completes it" >&2
    exit 2
fi
# The shell must not change a value: what it would split, expand or unescape has to stand in quotes.
q="'"
plain="[^][\"$q\$\`\\\\();&|<>*?~#!{}^[:space:]]"
value="($plain|\\\\$q|$q[^$q]*$q|\"([^\"\$\`\\\\]|\\\\[\"\$\`\\\\])*\")*"
wrong=$(LC_ALL=C sed -nE "/^([ 	]*(#.*)?|[A-Za-z_][A-Za-z0-9_]*=$value[ 	]*([ 	]#.*)?)\$/!p" "@env")
if [ -n "$wrong" ]; then
    printf '%s\n' "$(pwd)/@env: a value with blanks or signs that a shell changes belongs in single quotes, as in" \
        "NAME='it'\\''s \$5'; one NAME=value a line, which ends as on Unix. These lines are not so:" "$wrong" >&2
    exit 2
fi
. "./@env"
