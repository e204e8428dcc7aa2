package io.extauthz.quarkus.deployment;

import java.util.Collection;

/** Ends a build whose declarations cannot be registered. */
public class DeclarationException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    DeclarationException(Collection<String> problems) {
        super(String.join("\n", problems)
                + "\n(extauthz.build.problems=warn builds the application without these routes)");
    }
}
