"""The account of the short-video app: its profile and its posts."""

import enum
import hashlib
import re
from dataclasses import dataclass, field

_USERNAME = re.compile(r"[a-z0-9._]{2,24}", re.IGNORECASE)


class PostFailure(enum.Enum):
    """How a tap on Post fails: the app refuses it, or crashes after or before the post is made."""

    REFUSED = enum.auto()
    CRASH_AFTER_POST = enum.auto()
    CRASH_BEFORE_POST = enum.auto()


@dataclass(frozen=True, kw_only=True)
class Post:
    """A video posted from this phone; others see it from the monotonic second `since` on."""

    caption: str
    stream: str
    sha256: str
    size: int
    wall: float
    since: float


@dataclass(kw_only=True)
class Account:
    """The account that is logged in; it survives the app and a reboot, but not `pm clear`."""

    display_name: str
    username: str
    bio: str = ""
    posts: list[Post] = field(default_factory=list)

    def update(self, **profile: str) -> list[str]:
        """Set display_name, username or bio; return the names of those that changed."""
        changed = [name for name, value in profile.items() if getattr(self, name) != value]
        for name in changed:
            setattr(self, name, profile[name])
        return changed

    def post(self, data: bytes, *, caption: str, stream: str, wall: float, since: float) -> Post:
        """Add a post of *data* and return it."""
        post = Post(
            caption=caption,
            stream=stream,
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            wall=wall,
            since=since,
        )
        self.posts.append(post)
        return post


def profile_error(display_name: str, username: str) -> str:
    """Return why the app does not save this profile, empty when it does."""
    if not display_name:
        return "Display name cannot be empty"
    if _USERNAME.fullmatch(username) is None:
        return "Username: 2 to 24 letters, digits, . or _"
    return ""
