package io.extauthz.declare;

import java.util.Objects;

/**
 * How the mesh sees an application.
 *
 * @param host the host of every route; null for routes of whatever host
 * @param prefix the path that the mesh sees before the application's paths, such as {@code /billing}; may be empty
 * @param precedence which endpoint the framework takes where several match
 * @param ignoreCase whether the framework compares paths without regard to case
 */
public record Options(String host, String prefix, Precedence precedence, boolean ignoreCase) {

    /** Takes the parts; final slashes of the prefix are left out. */
    public Options {
        Objects.requireNonNull(precedence, "precedence");
        host = host == null || host.isBlank() ? null : host;
        prefix = prefix == null ? "" : prefix.replaceAll("/+$", "");
        if (!prefix.isEmpty() && !prefix.startsWith("/")) {
            throw new IllegalArgumentException("the prefix '" + prefix + "' does not begin with '/'");
        }
    }

    /**
     * Takes a framework that compares paths with regard to case.
     *
     * @param host the host of every route; null for routes of whatever host
     * @param prefix the path that the mesh sees before the application's paths; may be empty
     * @param precedence which endpoint the framework takes where several match
     */
    public Options(String host, String prefix, Precedence precedence) {
        this(host, prefix, precedence, false);
    }

    /**
     * Returns the options of an application that the mesh sees as it is.
     *
     * @return no host, no prefix, an unknown precedence
     */
    public static Options none() {
        return new Options(null, "", Precedence.UNKNOWN, false);
    }
}
