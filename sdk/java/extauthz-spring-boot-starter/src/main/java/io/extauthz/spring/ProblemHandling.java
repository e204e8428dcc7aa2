package io.extauthz.spring;

/** What happens with a declaration that cannot be registered as it is. */
public enum ProblemHandling {
    /** It is warned of, and its requests are denied by the mesh. */
    WARN,
    /** The application does not start. */
    FAIL
}
