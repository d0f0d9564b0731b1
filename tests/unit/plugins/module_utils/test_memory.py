"""Memory stays flat whatever the size: a stream through each codec, in a process of its own that says how large it grew."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.encryption_keys import age_key, gpg_keys

SCRIPT = """
import sys

megabytes, compressor, keys = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
for library, names in {"isal": "isal", "zstandard": "zstandard", "compression": "compression.zstd", "pyrage": "pyrage"}.items():
    if compressor != names:
        sys.modules[library] = None

import os
from ansible.module_utils.basic import AnsibleModule
from tests.support.arguments import patch_module_args
from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._codecs.base import Recipients
from ansible_collections.lastgood.database.plugins.module_utils._codecs.registry import COMPRESSIONS, ENCRYPTIONS
from ansible_collections.lastgood.database.plugins.module_utils._io import CHUNK_BYTES
from ansible_collections.lastgood.database.plugins.module_utils._process import Command, producing

if compressor == "zlib":
    os.environ["PATH"] = "/nonexistent"
with patch_module_args({}):
    runner = ModuleRunner(AnsibleModule(argument_spec={}))
if keys:
    codec = ENCRYPTIONS["gpg" if compressor == "gpg" else "age"].codec(Recipients(file=keys[0]), runner)
else:
    compression = "none" if compressor == "none" else "zstd" if compressor.endswith(("zstd", "zstandard")) else "gzip"
    codec = COMPRESSIONS[compression].codec("fast", runner)
assert codec.tool.split()[0] == compressor, codec.tool

# What comes out is no smaller than what goes in: nowhere on the way may it be kept.
PRODUCER = '''
import os, sys
block = os.urandom(1024 * 1024)
with open(sys.argv[2], "wb", buffering=0) as output:
    for _time in range(int(sys.argv[1])):
        output.write(block)
'''
taken = written = 0

def write(data):
    global written
    written += len(data)

def command_for(path, descriptor):
    return Command((sys.executable, "-I", "-S", "-c", PRODUCER, str(megabytes), path), descriptors=(descriptor,))

buffer = memoryview(bytearray(CHUNK_BYTES))
with codec.encoding(write) as encoder, producing(runner, command_for) as producer:
    while count := producer.readinto(buffer):
        encoder.write(buffer[:count])
        taken += count
    producer.finish()
    encoder.finish()
assert taken == megabytes * 1024 * 1024, taken
assert written >= 0.99 * taken, written

# Not getrusage: its maximum begins with what our parent had when it started us.
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""

COMPRESSORS = ["none", "isal", "pigz", "zlib", "zstandard", "zstd"]
if sys.version_info >= (3, 14):
    COMPRESSORS.append("compression.zstd")


def largest_kib(compressor: str, megabytes: int, *keys: str) -> int:
    """Stream so many megabytes, and return how large the process was at its largest. An encryption needs a file with keys."""
    done = subprocess.run(
        (sys.executable, "-c", SCRIPT, str(megabytes), compressor, *keys),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_thirty_times_the_content_takes_no_more_memory(compressor: str) -> None:
    assert largest_kib(compressor, 300) - largest_kib(compressor, 10) < 40 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("encryptor", ["pyrage", "age", "gpg"])
def test_an_encryption_of_thirty_times_the_content_takes_no_more_memory(encryptor: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    if encryptor == "gpg":
        with gpg_keys() as keys:
            file.write_bytes(keys.public("somebody"))
    else:
        file.write_text(age_key().public, encoding="utf-8")
    assert largest_kib(encryptor, 300, str(file)) - largest_kib(encryptor, 10, str(file)) < 40 * 1024
