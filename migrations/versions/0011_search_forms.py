"""Users are found whatever the case and accents, and by one character of scripts without spaces.

A field and a term are compared by the same function, `search_form`. It depends on no extension, on
no file of the server and not on the database's locale: Unicode's decompositions take accents off,
and what has none is said here. Of scripts that put no spaces between words (Thai, Khmer, Chinese,
Japanese and others) each character stands three times: so the index, which knows parts of three
characters, knows each one, and what stands beside it.

The function and the indexes of the release before stay: it searches by them.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

loses: dict[str, str] = {}

# ASCII, as most names are, takes the short way.
SEARCH_FORM = r"""
CREATE OR REPLACE FUNCTION search_form(word text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN octet_length(word) = char_length(word) THEN lower(word COLLATE "C") COLLATE "default"
    ELSE replace(replace(replace(translate(
        lower(
            regexp_replace(
                regexp_replace(normalize(word, NFKD), '[\u0300-\u036f]', '', 'g'),
                '[\u0e00-\u109f\u1780-\u17ff\u2e80-\u9fff\U00020000-\U0003ffff]', '\&\&\&', 'g'
            ) COLLATE "und-x-icu"
        ) COLLATE "default",
        'ςıøłđ', 'σiold'), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe')
END
$$
"""  # noqa: RUF001  the letters are meant
# Inlined by the planner. An index is restored with an empty search path, hence the schema.
USER_SEARCH_FORM = """
CREATE OR REPLACE FUNCTION user_search_form(
    email varchar, username varchar, display_name varchar
)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT chr(10) || public.search_form(email) || chr(10) || public.search_form(username)
    || chr(10) || coalesce(public.search_form(display_name), '')
$$
"""
VISIBLE = "deleted_at IS NULL"
# name → what is indexed
INDEXES = {
    "ix_users_search_form": (
        "USING gin (user_search_form(email, username, display_name) gin_trgm_ops)"
    ),
    "ix_users_display_name_form": (f"(search_form(display_name) text_pattern_ops) WHERE {VISIBLE}"),
    # Of other names the form is the name.
    "ix_users_username_form": (
        "(search_form(username) text_pattern_ops)"
        f" WHERE {VISIBLE} AND octet_length(username) <> char_length(username)"
    ),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(SEARCH_FORM)
        op.execute(USER_SEARCH_FORM)
        for name, indexed in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON users {indexed}")
        # The planner knows nothing of an index's expression before.
        op.execute("ANALYZE users")


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, "users")
    op.execute("DROP FUNCTION user_search_form, search_form")
