"""What imports remember."""

import uuid

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from user_management.models.base import Base, Now, Str50


class ImportedRow(Base):
    """A row of one of AutoBot's own stores, and the user that it is or was here.

    It stays when the user is renamed, deleted or erased. `key` is a digest of what the row is
    known by in its source; without a user, not even the row of a deleted one is left.
    """

    __tablename__ = "imported_rows"

    source: Mapped[Str50] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[Now]
