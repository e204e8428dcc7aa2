package io.extauthz.declare;

import java.util.Objects;

/**
 * Something about a declaration that keeps a route from being registered, or is not what it seems.
 *
 * @param endpoint the endpoint that it is about
 * @param message one message that names class, method and fix
 */
public record DeclarationProblem(Endpoint endpoint, String message) {

    /** Checks that both are there. */
    public DeclarationProblem {
        Objects.requireNonNull(endpoint, "endpoint");
        Objects.requireNonNull(message, "message");
    }
}
