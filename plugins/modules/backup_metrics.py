#!/usr/bin/python
# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_metrics
short_description: Write the state of backups into a file for Prometheus
version_added: 0.1.0
description:
  - Writes a file for the textfile collector of node_exporter, from the backups in directories and from how the last runs of
    M(lastgood.database.db_backup) went.
  - For each database it has the times of the last good backup, of the last run and its failure, of the last verification,
    restore drill and upload, the sizes of the last good backup, how long the last run took, and how many backups are in each
    state. The page C(docs/monitoring.md) of the collection lists the metrics, and has alert rules and a dashboard.
  - A directory that does not exist has the metric C(lastgood_backup_directory_readable) V(0), and no other. One that can't be
    read has it as well, and the module fails after it has written the file with the other directories.
  - Replaces the file at once, so that node_exporter never reads half of it.
author:
  - The lastgood.database contributors (@lastgood)
extends_documentation_fragment:
  - lastgood.database._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - New values of times and durations are written, and are no change. A run in which no backup changed reports none.
options:
  directories:
    description:
      - Directories of backups, as absolute paths.
      - A symbolic link is refused. Name the directory that it leads to.
    type: list
    elements: path
    required: true
  dest:
    description:
      - File to write, as an absolute path. Its name must end with C(.prom), or node_exporter does not read it.
      - Its directory must exist. A link or a directory is refused.
    type: path
    required: true
  labels:
    description:
      - Labels to add to every series, as names and values.
      - The names C(directory), C(origin), C(engine), C(kind), C(database), C(source), C(partial), C(code) and C(state) are taken.
    type: dict
    default: {}
  owner:
    description:
      - Name or numeric id of the user who owns the file. By default the user that runs the module.
    type: str
  group:
    description:
      - Name or numeric id of the group that owns the file. By default the group of the user that runs the module.
    type: str
  mode:
    description:
      - Mode of the file, as an octal number in quotes such as V('0640'), or as changes such as V(g+r) to V('0600').
      - node_exporter must be able to read the file.
    type: raw
    default: '0644'
seealso:
  - module: lastgood.database.backup_facts
  - name: Textfile collector
    description: How node_exporter reads files.
    link: https://github.com/prometheus/node_exporter#textfile-collector
"""

EXAMPLES = r"""
---
- name: Write the metrics of two directories
  lastgood.database.backup_metrics:
    directories:
      - /var/lib/postgresql/backups
      - /srv/shop/backups
    dest: /var/lib/prometheus/node-exporter/lastgood.prom
    labels:
      team: storage
  become: true
"""

RETURN = r"""
dest:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/prometheus/node-exporter/lastgood.prom
error:
  description: What went wrong, for programs.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        A name for what went wrong that stays the same, such as V(directory_unusable), V(directory_missing) or
        V(destination_unusable).
      type: str
"""

import contextlib
import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._stopping import hold_signals

if __name__ == "__main__":
    hold_signals()  # while the rest is imported

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import file_attributes, run_operation
from ansible_collections.lastgood.database.plugins.module_utils._arguments.metrics import (
    METRICS_SPEC,
    directories_from,
    labels_from,
    metrics_file_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._operations.metric_series import OWN_LABELS
from ansible_collections.lastgood.database.plugins.module_utils._operations.metrics import MetricsRequest, metrics
from ansible_collections.lastgood.database.plugins.module_utils._operations.operation import Context
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore


@contextlib.contextmanager
def request_from(params: Params, context: Context) -> t.Iterator[MetricsRequest]:
    """Yield the request that the module's options make."""
    is_stopped = context.is_stopped
    folder, filename = os.path.split(metrics_file_from(params))
    with contextlib.ExitStack() as stack:
        yield MetricsRequest(
            stores=[
                stack.enter_context(contextlib.closing(LocalStore(directory, is_stopped=is_stopped)))
                for directory in directories_from(params)
            ],
            folder=stack.enter_context(contextlib.closing(LocalStore(folder, file_attributes(params), is_stopped))),
            filename=filename,
            labels=labels_from(params, OWN_LABELS),
        )


def main() -> t.NoReturn:
    hold_signals()
    module = AnsibleModule(argument_spec=METRICS_SPEC, supports_check_mode=True)
    run_operation(module, request_from, metrics)


if __name__ == "__main__":
    main()
