package io.extauthz.spring;

import io.extauthz.client.UnreachableException;
import io.extauthz.declare.Caller;
import io.extauthz.declare.CallerReader;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletRequestWrapper;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.security.Principal;
import java.util.Collections;
import java.util.Enumeration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.web.filter.OncePerRequestFilter;

/**
 * Gives a request its caller, and takes identity headers away that prove nothing.
 *
 * <p>INVARIANT: behind this filter an {@code x-auth-*} header is one of the mesh, where assertions are verified
 * or direct calls are checked.
 */
final class CallerFilter extends OncePerRequestFilter {

    static final String CALLER = Caller.class.getName();

    private static final Logger LOG = LoggerFactory.getLogger("io.extauthz.spring");

    private final CallerReader callers;
    private final boolean hides;

    CallerFilter(CallerReader callers, boolean hides) {
        this.callers = callers;
        this.hides = hides;
    }

    /** Returns the caller of a request that the filter has seen. */
    static Optional<Caller> caller(HttpServletRequest request) {
        return request.getAttribute(CALLER) instanceof Caller caller ? Optional.of(caller) : Optional.empty();
    }

    static Function<String, List<String>> headers(HttpServletRequest request) {
        return name -> Collections.list(request.getHeaders(name));
    }

    @Override
    protected void doFilterInternal(HttpServletRequest request, HttpServletResponse response, FilterChain chain)
            throws ServletException, IOException {
        Optional<Caller> caller = read(request);
        caller.ifPresent(each -> request.setAttribute(CALLER, each));
        boolean believed = caller.isPresent() && (!caller.get().verified() || agrees(caller.get(), request));
        chain.doFilter(new Identified(request, caller.orElse(null), hides && !believed), response);
    }

    private Optional<Caller> read(HttpServletRequest request) {
        try {
            return callers.read(headers(request));
        } catch (UnreachableException error) {
            LOG.warn("the assertion of a request cannot be verified: {}", error.getMessage());
            return Optional.empty();
        }
    }

    /** Tells whether the identity headers say the same as the assertion. */
    private static boolean agrees(Caller caller, HttpServletRequest request) {
        return CallerReader.ofTrustedHeaders()
                .read(headers(request))
                .filter(said -> Objects.equals(said.subject(), caller.subject())
                        && said.kind().equals(caller.kind())
                        && Objects.equals(said.tenant(), caller.tenant())
                        && Objects.equals(said.domain(), caller.domain())
                        && Objects.equals(said.roles(), caller.roles()))
                .isPresent();
    }

    /** A request with its caller as the principal. */
    private static final class Identified extends HttpServletRequestWrapper {

        private final Caller caller;
        private final boolean hides;

        Identified(HttpServletRequest request, Caller caller, boolean hides) {
            super(request);
            this.caller = caller;
            this.hides = hides;
        }

        @Override
        public Principal getUserPrincipal() {
            Principal own = super.getUserPrincipal();
            return own == null ? caller : own;
        }

        @Override
        public String getRemoteUser() {
            Principal principal = getUserPrincipal();
            return principal == null ? null : principal.getName();
        }

        @Override
        public boolean isUserInRole(String role) {
            return super.isUserInRole(role) || super.getUserPrincipal() == null && caller != null && caller.hasRole(role);
        }

        @Override
        public String getHeader(String name) {
            return isHidden(name) ? null : super.getHeader(name);
        }

        @Override
        public Enumeration<String> getHeaders(String name) {
            return isHidden(name) ? Collections.emptyEnumeration() : super.getHeaders(name);
        }

        @Override
        public Enumeration<String> getHeaderNames() {
            List<String> names = Collections.list(super.getHeaderNames());
            return Collections.enumeration(names.stream().filter(each -> !isHidden(each)).toList());
        }

        private boolean isHidden(String name) {
            return hides && CallerReader.isIdentityHeader(name);
        }
    }
}
