package io.extauthz.declare;

import io.extauthz.declare.PathShape.Segment;
import java.nio.charset.StandardCharsets;
import java.text.Normalizer;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * A path of an application as the mesh can express it.
 *
 * @param template the path template; null where none says the path
 * @param reach the paths that the template matches; without a template, a set that holds all paths of the
 *     application's one
 * @param total whether the application takes every path that the template matches
 * @param problem why there is no template, and what to write; null where there is one
 */
record MappedPath(String template, PathShape reach, boolean total, String problem) {

    private static final int MOST_SEGMENTS = 64;
    private static final int LONGEST_NAME = 64;
    private static final String PCHAR = "-._~!$&'()*+,=:@"; // RFC 3986 3.3, without ";"
    private static final Set<String> WHOLE_SEGMENT = Set.of(".*", ".+", "[^/]+", "[^/]*");
    private static final Pattern ESCAPE = Pattern.compile("%[0-9A-Fa-f]{2}");

    /** Reads a path in the neutral form of {@link Endpoint}. */
    static MappedPath parse(String path) {
        if (path.isEmpty()) {
            return new MappedPath(null, new PathShape(List.of(Segment.literal("")), false), true,
                    "no request has an empty path; write '/'");
        }
        return new Reading().read(path);
    }

    /** Returns the name of a parameter as the mesh has it; what it does not take becomes an underscore. */
    static String parameterName(String name) {
        String allowed = name.replaceAll("[^A-Za-z0-9_]", "_");
        if (allowed.isEmpty() || Character.isDigit(allowed.charAt(0))) {
            allowed = "_" + allowed;
        }
        return allowed.substring(0, Math.min(allowed.length(), LONGEST_NAME));
    }

    /** One reading of a path, from its first segment to its last. */
    private static final class Reading {

        private final List<Segment> segments = new ArrayList<>();
        private final StringBuilder template = new StringBuilder();
        private final Set<String> names = new HashSet<>();
        private boolean rest;
        private boolean total = true;
        private String problem;

        MappedPath read(String path) {
            List<String> texts = split(path.startsWith("/") ? path.substring(1) : path);
            for (int i = 0; i < texts.size() && !rest; i++) {
                read(texts.get(i), i == texts.size() - 1);
            }
            if (segments.size() > MOST_SEGMENTS) {
                refuse("it has more than " + MOST_SEGMENTS + " segments");
            }
            return new MappedPath(
                    problem == null ? template + (rest ? "/**" : "") : null,
                    new PathShape(segments, rest),
                    total && problem == null,
                    problem);
        }

        private void read(String text, boolean last) {
            if (text.equals("**") || text.startsWith("{*")) {
                rest = true;
                if (!last) {
                    refuse("'" + text + "' stands for several segments before its end; the mesh has '/**' only"
                            + " at the end of a path");
                }
            } else if (text.equals("*")) {
                parameter("segment" + (segments.size() + 1));
            } else if (isVariable(text)) {
                variable(text.substring(1, text.length() - 1));
            } else if (text.chars().anyMatch(each -> "{}*?".indexOf(each) >= 0)) {
                refuse("its segment '" + text + "' is only partly variable; make the variable a whole segment,"
                        + " such as '{name}'");
                segments.add(Segment.ANY);
            } else {
                literal(text, last);
            }
        }

        private void variable(String inner) {
            int colon = inner.indexOf(':');
            String name = (colon < 0 ? inner : inner.substring(0, colon)).strip();
            if (colon >= 0) {
                String regex = inner.substring(colon + 1).strip();
                total &= WHOLE_SEGMENT.contains(regex);
                if (regex.indexOf('/') >= 0 && !WHOLE_SEGMENT.contains(regex)) {
                    refuse("its variable '" + name + "' can hold a slash; write one variable for each segment");
                    rest = true;
                    return;
                }
            }
            parameter(name);
        }

        /** Adds a parameter; a name that was there gets a number. */
        private void parameter(String name) {
            String allowed = parameterName(name);
            String unique = allowed;
            for (int i = 2; !names.add(unique); i++) {
                String number = "_" + i;
                unique = allowed.substring(0, Math.min(allowed.length(), LONGEST_NAME - number.length())) + number;
            }
            segments.add(Segment.PARAMETER);
            template.append("/{").append(unique).append('}');
        }

        private void literal(String text, boolean last) {
            segments.add(Segment.literal(text));
            template.append('/').append(encoded(text));
            if (text.isEmpty() ? !last : !isCanonical(text)) {
                refuse("the mesh refuses each request with the segment '" + text + "'; name it otherwise");
            }
        }

        private void refuse(String reason) {
            if (problem == null) {
                problem = reason;
            }
        }
    }

    /** Splits at slashes that are not in braces. */
    private static List<String> split(String path) {
        var parts = new ArrayList<String>();
        int depth = 0;
        int from = 0;
        for (int i = 0; i < path.length(); i++) {
            switch (path.charAt(i)) {
                case '\\' -> i += depth > 0 ? 1 : 0;
                case '{' -> depth++;
                case '}' -> depth = Math.max(0, depth - 1);
                case '/' -> {
                    if (depth == 0) {
                        parts.add(path.substring(from, i));
                        from = i + 1;
                    }
                }
                default -> { }
            }
        }
        parts.add(path.substring(from));
        return parts;
    }

    /** Tells whether a segment is one variable: its first brace is closed by its last character. */
    private static boolean isVariable(String text) {
        if (!text.startsWith("{") || !text.endsWith("}")) {
            return false;
        }
        int depth = 0;
        for (int i = 0; i < text.length() - 1; i++) {
            char each = text.charAt(i);
            if (each == '\\') {
                i++;
            } else if (each == '{') {
                depth++;
            } else if (each == '}') {
                depth--;
            }
            if (depth == 0) {
                return false;
            }
        }
        return depth == 1;
    }

    /**
     * Tells whether a request can have the segment. One such path in a registration would be refused with all
     * others, as a registration is all or none.
     */
    private static boolean isCanonical(String text) {
        // Compatibility forms of `/ \ . ; %` are read as what they fold to, as the mesh does.
        String folded = Normalizer.normalize(text, Normalizer.Form.NFKC);
        return folded.codePoints().noneMatch(each -> Character.isISOControl(each) || "/\\;".indexOf(each) >= 0)
                && !ESCAPE.matcher(folded).find()
                && !folded.equals(".")
                && !folded.equals("..")
                && text.strip().equals(text)
                && folded.strip().equals(folded);
    }

    private static String encoded(String text) {
        var encoded = new StringBuilder(text.length());
        for (byte each : text.getBytes(StandardCharsets.UTF_8)) {
            char octet = (char) (each & 0xff);
            boolean plain = octet < 0x80
                    && (Character.isLetterOrDigit(octet) || PCHAR.indexOf(octet) >= 0);
            encoded.append(plain ? String.valueOf(octet) : String.format(Locale.ROOT, "%%%02X", (int) octet));
        }
        return encoded.toString();
    }
}
