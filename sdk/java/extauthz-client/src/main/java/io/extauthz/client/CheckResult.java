package io.extauthz.client;

/**
 * A decision.
 *
 * @param allowed true only when the API said so, word for word
 * @param reason the stable word for why, such as {@code no_matching_rule}
 * @param matchedRuleId the rule or policy that decided; null where none did
 * @param decisionId the decision's id in the decision log
 * @param policyRevision the revision of the policies that decided
 * @param message why, for people
 */
public record CheckResult(
        boolean allowed, String reason, String matchedRuleId, String decisionId, long policyRevision, String message) {

    /**
     * Reads the JSON form; the status 200 belongs to an allow, 403 to a deny.
     *
     * @throws UnexpectedAnswerException the two contradict each other, or it is not a decision
     */
    static CheckResult read(Object document, int status) {
        var members = new Members(document);
        Effect wanted = status == 200 ? Effect.ALLOW : Effect.DENY;
        if (members.choice("decision", Effect.class) != wanted) {
            throw new UnexpectedAnswerException(
                    "the API answered " + status + " with a 'decision' that is not " + wanted.word());
        }
        return new CheckResult(
                wanted == Effect.ALLOW,
                members.text("reason"),
                members.optionalText("matched_rule_id"),
                members.text("decision_id"),
                members.number("policy_revision"),
                members.text("message"));
    }
}
