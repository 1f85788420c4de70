"""Makes APKs that a simulated phone installs: a manifest, and who signed it."""

import io
import zipfile


def apk(package: str, *, version: str = "1.0", code: int = 1, signer: str = "a") -> bytes:
    """Return an APK, the same bytes for the same words."""
    manifest = f'<manifest package="{package}" versionCode="{code}" versionName="{version}"/>'
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in (("AndroidManifest.xml", manifest), ("META-INF/CERT.RSA", signer)):
            archive.writestr(zipfile.ZipInfo(name), text)
    return made.getvalue()
