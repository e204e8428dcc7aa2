package io.extauthz.spring;

import io.extauthz.declare.Enforcer;
import jakarta.servlet.http.HttpServletRequest;
import java.util.Optional;

/**
 * Names the subject of a request that has no token, such as the user of a session. The service key of the
 * application, with the scope {@code check}, asks about it.
 */
@FunctionalInterface
public interface SubjectResolver {

    /**
     * Returns the subject.
     *
     * @param request the request; its {@code x-auth-*} headers are left out where they prove nothing
     * @return the subject that the application authenticated; empty where it did not
     */
    Optional<Enforcer.Subject> subject(HttpServletRequest request);
}
