package io.extauthz.quarkus.deployment;

import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.regex.Pattern;

/**
 * A path of Jakarta REST in the neutral form of {@link io.extauthz.declare.Endpoint}.
 *
 * @param text the path, literals decoded
 * @param partial whether the application takes only some of the paths that a final {@code /**} stands for
 */
record JaxRsPath(String text, boolean partial) {

    /** Regular expressions that hold each text of one segment or of several. */
    private static final Pattern EVERYTHING = Pattern.compile("\\.[*+]\\??");

    /** Parts of a regular expression that a slash may match: any character, a slash, a negated class. */
    private static final Pattern ACROSS_SEGMENTS = Pattern.compile("(?<!\\\\)\\.|/|\\[\\^|\\\\[SDWHNRX]|\\\\p|\\\\P");

    private static final Pattern ONE_SEGMENT = Pattern.compile("\\[\\^/\\][*+]\\??");

    /** Joins the paths of application, class, locators and method. */
    static JaxRsPath of(Collection<String> levels) {
        StringBuilder joined = new StringBuilder();
        for (String level : levels) {
            String part = level.startsWith("/") ? level.substring(1) : level;
            if (part.isEmpty()) {
                continue;
            }
            if (joined.isEmpty() || joined.charAt(joined.length() - 1) != '/') {
                joined.append('/');
            }
            joined.append(part);
        }
        return read(joined.isEmpty() ? "/" : joined.toString());
    }

    private static JaxRsPath read(String path) {
        StringBuilder text = new StringBuilder();
        boolean partial = false;
        int at = 0;
        while (at < path.length()) {
            int open = path.indexOf('{', at);
            int close = open < 0 ? -1 : end(path, open);
            if (close < 0) {
                text.append(decoded(path.substring(at)));
                break;
            }
            text.append(decoded(path.substring(at, open)));
            boolean whole = text.charAt(text.length() - 1) == '/'
                    && (close + 1 == path.length() || path.charAt(close + 1) == '/');
            String variable = path.substring(open + 1, close);
            int colon = variable.indexOf(':');
            String name = (colon < 0 ? variable : variable.substring(0, colon)).strip();
            String regex = colon < 0 ? "" : variable.substring(colon + 1).strip();
            if (regex.isEmpty() || ONE_SEGMENT.matcher(regex).matches()) {
                text.append('{').append(name).append('}');
            } else if (whole && ACROSS_SEGMENTS.matcher(regex).find()) {
                text.append("{*").append(name).append('}');
                partial |= !EVERYTHING.matcher(regex).matches();
            } else {
                text.append('{').append(name).append(':').append(regex).append('}');
            }
            at = close + 1;
        }
        return new JaxRsPath(text.toString(), partial);
    }

    /** Whether everything below is in it. */
    boolean rest() {
        return text.endsWith("}") && text.lastIndexOf("/{*") == text.lastIndexOf('/');
    }

    /** Returns where the brace at a position is closed, -1 where it is not. */
    private static int end(String path, int open) {
        int depth = 0;
        for (int i = open; i < path.length(); i++) {
            switch (path.charAt(i)) {
                case '\\' -> i++;
                case '{' -> depth++;
                case '}' -> {
                    if (--depth == 0) {
                        return i;
                    }
                }
                default -> { }
            }
        }
        return -1;
    }

    /** Jakarta REST encodes what a literal does not have to hold and keeps what is encoded (3.4). */
    private static String decoded(String literal) {
        try {
            return URLDecoder.decode(literal.replace("+", "%2B"), StandardCharsets.UTF_8);
        } catch (IllegalArgumentException malformed) {
            return literal;
        }
    }
}
