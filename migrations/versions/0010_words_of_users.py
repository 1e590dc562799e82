"""Names and addresses share one space: what is one user's name is no other user's address.

Two unique indexes keep names apart from names and addresses from addresses. What they cannot see
stands in `taken_words`: a name with an @ that is not its user's own address, an address without
one, and what a name or address is read as where it is written otherwise (case, NFKC). Such users
are few; whoever writes another name looks there, and finds nothing nearly always.

Writers of names hold the table in ROW SHARE, which they can all have at once. Who adds to it
takes EXCLUSIVE, so nobody takes a word between the look and the end of the transaction. Logins
and all else that writes no name take no lock and run no trigger.

Rows that clash already stay as they are, and nobody can take their words a third time.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# They are made of the users' names.
loses = {"taken_words": "false"}

SERVICE = "slm_service"

TABLE = """
CREATE TABLE taken_words (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    word text NOT NULL,
    PRIMARY KEY (user_id, word)
)
"""

# Inlined by the planner, so none of them has settings of its own.
WORD_FORM = """
CREATE FUNCTION word_form(word text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN octet_length(word) = char_length(word) THEN lower(word)
    ELSE lower(normalize(word, NFKC))
END
$$
"""
HAS_OTHER_WORDS = """
CREATE FUNCTION has_other_words(username text, email text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT word_form(username) <> username OR word_form(email) <> email
    OR username <> email AND (position('@' IN username) > 0 OR position('@' IN email) = 0)
$$
"""
OTHER_WORDS = """
CREATE FUNCTION other_words(username text, email text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT word_form(username)
WHERE word_form(username) <> username OR username <> email AND position('@' IN username) > 0
UNION
SELECT word_form(email)
WHERE word_form(email) <> email OR username <> email AND position('@' IN email) = 0
$$
"""

# (signature, result, body); they run as the owner, who sees the users of all organizations.
FUNCTIONS = (
    (
        "hold_words()",
        "void",
        "BEGIN LOCK TABLE taken_words IN ROW SHARE MODE; END",
    ),
    (
        "refuse_word(taken_as text)",
        "void",
        """
BEGIN
    RAISE 'Another user has this % as a name or address.', taken_as
        USING ERRCODE = 'unique_violation', CONSTRAINT = 'taken_words_' || taken_as;
END
""",
    ),
    (
        "users_were_added()",
        "trigger",
        """
DECLARE
    is_special boolean := EXISTS (
        SELECT FROM added WHERE deleted_at IS NULL AND has_other_words(username, email)
    );
    taken_as text;
BEGIN
    IF is_special THEN
        LOCK TABLE taken_words IN EXCLUSIVE MODE;
        INSERT INTO taken_words (user_id, word)
        SELECT id, word FROM added, other_words(username, email) AS word WHERE deleted_at IS NULL
        ON CONFLICT DO NOTHING;
    ELSE
        LOCK TABLE taken_words IN ROW SHARE MODE;
    END IF;
    IF EXISTS (SELECT FROM taken_words) THEN
        SELECT found.taken_as INTO taken_as FROM (
            SELECT 'username' FROM added JOIN taken_words ON word = word_form(username)
            WHERE user_id <> id AND deleted_at IS NULL
            UNION ALL
            SELECT 'email' FROM added JOIN taken_words ON word = word_form(email)
            WHERE user_id <> id AND deleted_at IS NULL
        ) AS found (taken_as) LIMIT 1;
    END IF;
    IF taken_as IS NULL AND is_special THEN
        SELECT CASE WHEN word = word_form(added.username) THEN 'username' ELSE 'email' END
        INTO taken_as
        FROM added JOIN taken_words ON user_id = added.id
        JOIN users ON (users.username = word OR users.email = word) AND users.id <> added.id
        WHERE added.deleted_at IS NULL AND users.deleted_at IS NULL LIMIT 1;
    END IF;
    IF taken_as IS NOT NULL THEN
        PERFORM refuse_word(taken_as);
    END IF;
    RETURN NULL;
END
""",
    ),
    # Before the row is written: whoever waits for the lock keeps nobody waiting meanwhile.
    (
        "user_was_renamed()",
        "trigger",
        """
DECLARE
    is_special boolean := NEW.deleted_at IS NULL AND has_other_words(NEW.username, NEW.email);
    taken_as text;
BEGIN
    IF is_special THEN
        LOCK TABLE taken_words IN EXCLUSIVE MODE;
    ELSE
        LOCK TABLE taken_words IN ROW SHARE MODE;
    END IF;
    IF EXISTS (SELECT FROM taken_words WHERE user_id = NEW.id) THEN
        DELETE FROM taken_words WHERE user_id = NEW.id;
    END IF;
    IF NEW.deleted_at IS NOT NULL THEN
        RETURN NEW;
    END IF;
    -- What stays as it is may clash since before there was this rule.
    SELECT changed.taken_as INTO taken_as
    FROM (
        VALUES ('username', NEW.username, OLD.username), ('email', NEW.email, OLD.email)
    ) AS changed (taken_as, word, earlier)
    WHERE (word <> earlier OR OLD.deleted_at IS NOT NULL) AND (
        EXISTS (SELECT FROM taken_words WHERE taken_words.word = word_form(changed.word))
        OR is_special AND EXISTS (
            SELECT FROM users
            WHERE (username = word_form(changed.word) OR email = word_form(changed.word))
                AND id <> NEW.id AND deleted_at IS NULL
        )
    )
    LIMIT 1;
    IF taken_as IS NOT NULL THEN
        PERFORM refuse_word(taken_as);
    END IF;
    IF is_special THEN
        INSERT INTO taken_words (user_id, word)
        SELECT NEW.id, other_words(NEW.username, NEW.email);
    END IF;
    RETURN NEW;
END
""",
    ),
)
TRIGGERS = (
    "CREATE TRIGGER words_added AFTER INSERT ON users REFERENCING NEW TABLE AS added"
    " FOR EACH STATEMENT EXECUTE FUNCTION users_were_added()",
    "CREATE TRIGGER words_changed BEFORE UPDATE OF username, email, deleted_at ON users"
    " FOR EACH ROW WHEN (OLD.username <> NEW.username OR OLD.email <> NEW.email"
    " OR (OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL))"
    " EXECUTE FUNCTION user_was_renamed()",
)


def upgrade() -> None:
    op.execute(TABLE)
    op.create_index("ix_taken_words_word", "taken_words", ["word"])
    for statement in (WORD_FORM, HAS_OTHER_WORDS, OTHER_WORDS):
        op.execute(statement)
    for signature, result, body in FUNCTIONS:
        op.execute(
            f"CREATE FUNCTION {signature} RETURNS {result} LANGUAGE plpgsql"
            f" SECURITY DEFINER SET search_path = public, pg_temp AS $${body}$$"
        )
        name = signature.partition("(")[0]
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
    for name in ("word_form", "has_other_words", "other_words"):
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
    op.execute(f"GRANT SELECT ON taken_words TO {SERVICE}")
    op.execute(f"GRANT EXECUTE ON FUNCTION hold_words TO {SERVICE}")
    # From here on users can be read, and not be written until the end of the migration.
    for statement in TRIGGERS:
        op.execute(statement)
    op.execute(
        "INSERT INTO taken_words (user_id, word) SELECT id, word"
        " FROM users, other_words(username, email) AS word"
        " WHERE deleted_at IS NULL AND has_other_words(username, email)"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER words_changed ON users")
    op.execute("DROP TRIGGER words_added ON users")
    for signature, _, _ in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("DROP FUNCTION other_words, has_other_words, word_form")
    op.drop_table("taken_words")
