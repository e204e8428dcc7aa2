package io.extauthz.client;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.OptionalDouble;

/**
 * The API refused: an RFC 9457 problem.
 *
 * <p>The message has all of it, of many errors the first ten; {@link #summary()} is that text without the
 * errors.
 */
public class ApiException extends ExtauthzException {

    private static final long serialVersionUID = 1L;
    private static final int MOST_SHOWN = 10;

    private final int status;
    private final String title;
    private final String detail;
    private final String reason;
    private final ArrayList<Problem> errors;
    private final Double retryAfterSeconds;

    /**
     * Takes the members of the problem document.
     *
     * @param status the HTTP status of the answer
     * @param title what kind of problem it is
     * @param detail what happened; empty where the API did not say
     * @param reason the problem's stable word for its cause; null where it has none
     * @param errors every problem with the request
     * @param retryAfterSeconds what {@code Retry-After} said, in seconds; null without one
     */
    public ApiException(
            int status,
            String title,
            String detail,
            String reason,
            Collection<Problem> errors,
            Double retryAfterSeconds) {
        super(text(summary(status, title, detail, reason), errors, detail));
        this.status = status;
        this.title = title;
        this.detail = detail;
        this.reason = reason;
        this.errors = new ArrayList<>(errors);
        this.retryAfterSeconds = retryAfterSeconds;
    }

    /**
     * Returns the HTTP status of the answer.
     *
     * @return the status, such as 409
     */
    public int status() {
        return status;
    }

    /**
     * Returns what kind of problem it is.
     *
     * @return a short text, such as {@code Conflict}
     */
    public String title() {
        return title;
    }

    /**
     * Returns what happened.
     *
     * @return a text, empty where the API did not say
     */
    public String detail() {
        return detail;
    }

    /**
     * Returns the problem's stable word for its cause.
     *
     * @return the word, or null where it has none
     */
    public String reason() {
        return reason;
    }

    /**
     * Returns every problem with the request.
     *
     * @return an unmodifiable list, empty where the request itself was right
     */
    public List<Problem> errors() {
        return List.copyOf(errors);
    }

    /**
     * Returns how long to wait before the request is sent again.
     *
     * @return what {@code Retry-After} said, in seconds; empty without one
     */
    public OptionalDouble retryAfterSeconds() {
        return retryAfterSeconds == null ? OptionalDouble.empty() : OptionalDouble.of(retryAfterSeconds);
    }

    /**
     * Returns the message without the errors.
     *
     * @return status, title, reason and detail on one line
     */
    public String summary() {
        return summary(status, title, detail, reason);
    }

    private static String summary(int status, String title, String detail, String reason) {
        return status + " " + title + (reason == null ? "" : " (" + reason + ")")
                + (detail.isEmpty() ? "" : ": " + detail);
    }

    /** Adds each error with its place; what {@code detail} says already is left out. */
    private static String text(String summary, Collection<Problem> errors, String detail) {
        var parts = new ArrayList<String>();
        parts.add(summary);
        errors.stream()
                .limit(MOST_SHOWN)
                .filter(error -> !error.message().isEmpty() && !error.message().equals(detail))
                .map(Problem::shown)
                .forEach(parts::add);
        if (errors.size() > MOST_SHOWN) {
            parts.add("and " + (errors.size() - MOST_SHOWN) + " more");
        }
        return String.join("; ", parts);
    }
}
