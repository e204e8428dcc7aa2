#!/usr/bin/env bash
# Installs extauthz as this action's own version has it, with the packages that its lock names.
set -euo pipefail

if [[ ${GITHUB_EVENT_NAME-} == pull_request_target ]]; then
  echo '::error::Use the event pull_request. With pull_request_target a pull request of anyone runs with a token that may write.'
  exit 1
fi
root="$(cd "$GITHUB_ACTION_PATH/../../.." && pwd)"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo '::error::extauthz needs Python 3.11 or newer; run actions/setup-python before'
  exit 1
}
python3 -m venv "$RUNNER_TEMP/extauthz"
PIP_CONSTRAINT="$root/constraints.txt" PIP_BUILD_CONSTRAINT="$root/constraints.txt" PIP_DISABLE_PIP_VERSION_CHECK=1 \
  "$RUNNER_TEMP/extauthz/bin/python" -m pip install --quiet "$root"
