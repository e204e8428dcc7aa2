package io.extauthz.quarkus;

import io.extauthz.declare.Caller;
import io.extauthz.quarkus.runtime.CallerFilter;
import jakarta.inject.Singleton;
import java.util.Optional;
import org.jboss.resteasy.reactive.server.core.CurrentRequestManager;
import org.jboss.resteasy.reactive.server.core.ResteasyReactiveRequestContext;

/**
 * The caller of the request that is handled, for beans of each scope.
 *
 * <p>{@code @Context SecurityContext} has the same caller as its user principal.
 */
@Singleton
public class CurrentCaller {

    /** Makes the bean. */
    public CurrentCaller() { }

    /**
     * Returns the caller.
     *
     * @return the caller; empty where neither a valid assertion nor trusted headers say who it is, and outside
     *     of a request
     */
    public Optional<Caller> get() {
        ResteasyReactiveRequestContext request = CurrentRequestManager.get();
        Object caller = request == null ? null : request.getProperty(CallerFilter.CALLER);
        return caller instanceof Caller known ? Optional.of(known) : Optional.empty();
    }
}
