"""No request lost: releases under real load, through real proxies, with every request accounted for."""
