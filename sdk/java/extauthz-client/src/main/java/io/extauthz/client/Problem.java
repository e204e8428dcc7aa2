package io.extauthz.client;

import java.io.Serializable;
import java.util.Map;

/**
 * One problem with a request, an entry of {@code errors} of an RFC 9457 problem document.
 *
 * @param message what is wrong and what is right; empty where the API gave none
 * @param pointer the JSON pointer of the member that is wrong; null where another place is meant
 * @param parameter the query parameter or header that is wrong; null where another place is meant
 * @param line the line of a text that is wrong, the first is 1; null where another place is meant
 * @param code the stable word for the kind of the problem; null where the API gave none
 */
public record Problem(String message, String pointer, String parameter, Integer line, String code)
        implements Serializable {

    private static final long serialVersionUID = 1L;

    static Problem read(Map<?, ?> document) {
        return new Problem(
                document.get("message") instanceof String text ? text : "",
                document.get("pointer") instanceof String text ? text : null,
                document.get("parameter") instanceof String text ? text : null,
                document.get("line") instanceof Long number && number == number.intValue() ? number.intValue() : null,
                document.get("code") instanceof String text ? text : null);
    }

    /** Returns the place and the message on one line. */
    String shown() {
        String place = "";
        if (pointer != null && !pointer.isEmpty()) {
            place = pointer + " ";
        } else if (parameter != null && !parameter.isEmpty()) {
            place = parameter + " ";
        } else if (line != null && line != 0) {
            place = "line " + line + " ";
        }
        return (place + message).strip().replaceAll("\\s+", " ");
    }
}
