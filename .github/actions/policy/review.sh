#!/usr/bin/env bash
# Writes the review to extauthz-review.md and to the job's summary; its exit status is that of the review.
set -uo pipefail

review="$RUNNER_TEMP/extauthz-review.md"
given=(--base "$POLICY_BASE" --head "$POLICY_HEAD" --tenant "${POLICY_TENANT:-default}")
[[ -z ${POLICY_NAME-} ]] || given+=(--name "$POLICY_NAME")
[[ -z ${POLICY_LOG-} ]] || given+=(--log "$POLICY_LOG")
[[ -z ${POLICY_MAX_NEWLY_ALLOWED-} ]] || given+=(--max-newly-allowed "$POLICY_MAX_NEWLY_ALLOWED")
[[ ${POLICY_EXAMPLES-} != true ]] || given+=(--examples)

# Nothing of an earlier run is left to be commented.
rm -f "$review"
"$RUNNER_TEMP/extauthz/bin/extauthz" policy review "${given[@]}" >"$review"
status=$?
cat "$review"
cat "$review" >>"$GITHUB_STEP_SUMMARY"
[[ -s $review ]] || rm -f "$review"
exit "$status"
