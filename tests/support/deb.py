"""The package that `make deb` has built, and what tests do with it."""

import glob
import os
import shutil
import subprocess

import weir as house


def package():
    (path,) = glob.glob(os.path.join(house.ROOT, "build", "deb", "weir_*.deb"))
    return path


def version_of(path):
    return subprocess.run(["dpkg-deb", "-f", path, "Version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def install(system, path):
    """In a system of chroot.py, with all that it depends on."""
    name = os.path.basename(path)
    shutil.copy(path, system.path("/root/" + name))
    system.run("apt-get", "install", "-y", "--no-install-recommends", "/root/" + name)


def make_newer(path, folder):
    """The same package with a higher version."""
    tree = os.path.join(folder, "newer")
    subprocess.run(["dpkg-deb", "-R", path, tree], check=True)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control) as f:
        text = f.read()
    with open(control, "w") as f:
        f.write(text.replace(f"Version: {version_of(path)}", f"Version: {version_of(path)}+newer"))
    newer = os.path.join(folder, "weir_newer.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, newer], check=True, stdout=subprocess.DEVNULL)
    return newer
