package io.extauthz.declare;

import java.util.Objects;

/**
 * What is to happen with a request.
 *
 * @param status 200 where it may go on; else the HTTP status of the denial, 401, 403 or 503
 * @param reason the stable word for the cause, as in the decisions of the mesh
 * @param message the cause for the log, without anything secret
 * @param decisionId the id of the decision; null where none was asked for
 * @param caller the caller; null where it is not known
 */
public record Verdict(int status, String reason, String message, String decisionId, Caller caller) {

    /** Checks that status and reason go together. */
    public Verdict {
        Objects.requireNonNull(reason, "reason");
        Objects.requireNonNull(message, "message");
        if (status != 200 && status != 401 && status != 403 && status != 503) {
            throw new IllegalArgumentException("a verdict has the status 200, 401, 403 or 503, not " + status);
        }
    }

    static Verdict denied(int status, String reason, String message) {
        return new Verdict(status, reason, message, null, null);
    }

    static Verdict allowed(String reason, String decisionId, Caller caller) {
        return new Verdict(200, reason, "", decisionId, caller);
    }

    /**
     * Tells whether the request may go on.
     *
     * @return whether the status is 200
     */
    public boolean allowed() {
        return status == 200;
    }

    /**
     * Returns the JSON body of the denial, in the form of the mesh's.
     *
     * @return an object with {@code error}, {@code reason} and {@code decision_id}
     */
    public String body() {
        String error = switch (status) {
            case 401 -> "unauthorized";
            case 403 -> "forbidden";
            default -> "unavailable";
        };
        // Reasons and ids come from the API: what is not a plain word is left out.
        return "{\"error\":\"" + error + "\",\"reason\":" + word(reason) + ",\"decision_id\":" + word(decisionId) + "}";
    }

    private static String word(String text) {
        return text != null && text.matches("[A-Za-z0-9_.-]{1,128}") ? "\"" + text + "\"" : "null";
    }
}
